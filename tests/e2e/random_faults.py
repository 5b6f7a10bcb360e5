# SPDX-License-Identifier: BSD-2-Clause
"""What goes wrong by chance: the API server, the way to it, and the agent itself.

Each fault begins at once and is over with `calm`, or before. While one lasts, changes go on: a fault that
takes time is given `meanwhile`, which makes some.
"""

WATCHED = ("services", "endpointslices", "nodes", "servicecidrs")
LARGE = ("services", "endpointslices")
PAGED = {"streaming_lists": "invalid"}


class RandomFaults:
    """`cluster` has a server, an agent, objects (RandomObjects) and the objects that must stay, `kept`."""

    def __init__(self, chance, cluster, meanwhile):
        self.chance, self.cluster, self.meanwhile = chance, cluster, meanwhile
        self.count, self.names = 0, []
        self.kinds = (
            (6, self.watch_ends), (6, self.history_is_gone), (6, self.answers_fail), (3, self.watches_are_silent),
            (6, self.lists_break), (3, self.zipped_list_breaks), (3, self.page_expires), (3, self.list_is_slow),
            (3, self.nobody_listens), (2, self.connections_hang), (2, self.half_is_lost),
            (2, self.server_restarts), (3, self.event_is_malformed), (2, self.bookmark_comes),
            (3, self.agent_restarts), (3, self.agent_is_killed),
        )

    @property
    def server(self):
        return self.cluster.server

    def strike(self):
        """One of them, by chance."""
        weights, faults = zip(*self.kinds)
        fault = self.chance.choices(faults, weights)[0]
        self.count += 1
        self.names.append(fault.__name__)
        fault()

    def calm(self):
        """Everything works as it should, from now on."""
        self.server.faults.clear()
        self.server.accept("serve")
        self.server.start_listening()
        self.server.set(streaming_lists="on", gzip_over=128 * 1024, gone="event")
        self.server.thaw_watches()

    def relist(self, resource=None):
        """Makes the agent list again."""
        self.server.compact()
        self.server.drop_watches(resource, how=self.chance.choice(("gone", "end", "reset")))

    # The server's answers.

    def watch_ends(self):
        self.server.drop_watches(self.chance.choice((None, *WATCHED)),
                                 how=self.chance.choice(("end", "unfinished", "mid-object", "reset")))

    def history_is_gone(self):
        """410: as status, or in the stream."""
        self.server.set(gone=self.chance.choice(("event", "status")))
        self.relist(self.chance.choice((None, *LARGE)))

    def answers_fail(self):
        status = self.chance.choice((401, 403, 429, 429, 500, 502, 503, 504))
        more = {"headers": {"Retry-After": "1"}} if status == 429 else {}
        self.server.faults.add(resource=self.chance.choice(WATCHED), status=status,
                               times=self.chance.randint(1, 2), **more)
        self.server.drop_watches(how="end")

    def watches_are_silent(self):
        self.server.freeze_watches(self.chance.choice((None, *LARGE)))

    def break_of_a_list(self):
        return self.chance.choice((
            {"truncate": self.chance.randint(1, 20000)}, {"malformed": True}, {"close": "unfinished"},
            {"close": "mid-object"}, {"close": "now"}, {"close_after": self.chance.randint(1, 50000)},
            {"close_after": self.chance.randint(1, 50000), "reset": True}, {"gone": "status"}))

    def lists_break(self):
        """Streamed, or in pages."""
        paged = self.chance.random() < 0.5
        if paged:
            self.server.set(**PAGED)
        self.server.faults.add(resource=self.chance.choice(LARGE), verb="list" if paged else "watch",
                               times=1, **self.break_of_a_list())
        self.relist()

    def zipped_list_breaks(self):
        self.server.set(gzip_over=1000, **PAGED)
        self.server.faults.add(resource=self.chance.choice(LARGE), verb="list", times=1,
                               **self.chance.choice(({"truncate": 3000}, {"close": "mid-object"},
                                                     {"close_after": 2000})))
        self.relist()

    def page_expires(self):
        self.server.set(**PAGED)
        self.server.faults.add(resource=self.chance.choice(LARGE), verb="list", continued=True,
                               gone="status", times=1)
        self.relist()

    def list_is_slow(self):
        """So slow that the world changes while it comes."""
        paged = self.chance.random() < 0.5
        if paged:
            self.server.set(**PAGED)
        resource = self.chance.choice(LARGE)
        self.server.faults.add(resource=resource, verb="list" if paged else "watch", times=1,
                               **self.chance.choice(({"drip": 600000}, {"silent": 0.5})))
        self.relist(resource)
        for _ in range(5):
            self.meanwhile()

    def event_is_malformed(self):
        text = self.chance.choice(('{"type":"ADDED","object":{"metadata":', '{"type":"ADDED"}', "<html>", "[]",
                                   '{"type":"ADDED","object":{"kind":"Service"}}', "", '{"type":7,"object":{}}'))
        self.server.send_to_watches(text, self.chance.choice((None, *WATCHED)))

    def bookmark_comes(self):
        self.server.bookmark(self.chance.choice((None, *WATCHED)))

    # The server and the way to it.

    def nobody_listens(self):
        self.server.stop_listening(seconds=0.3)
        self.meanwhile()

    def connections_hang(self):
        self.server.accept(self.chance.choice(("hang", "close")))
        self.server.drop_connections(reset=self.chance.random() < 0.5)
        self.meanwhile()
        self.server.accept("serve")
        self.server.drop_connections()

    def half_is_lost(self):
        """As after a restore from a backup, except of what must stay. What was lost may come back."""
        self.server.stop_listening()
        self.server.come_back(lose=self.chance.choice((0.1, 0.5)))
        self.server.put_all(self.cluster.kept)
        self.cluster.objects.learn()
        self.server.start_listening()
        for _ in range(2):
            self.cluster.objects.return_lost()
            self.meanwhile()

    def server_restarts(self):
        """And remembers no history. What changes before anyone watches again is in the lists only."""
        self.server.restart()
        self.meanwhile()

    # The agent.

    def agent_restarts(self):
        self.cluster.stop_agent()
        self.meanwhile()
        self.cluster.start_agent()

    def agent_is_killed(self):
        """Perhaps in the middle of a publish."""
        self.meanwhile()
        self.cluster.kill_agent()
        self.meanwhile()
        self.cluster.start_agent()
