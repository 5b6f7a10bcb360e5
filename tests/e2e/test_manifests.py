# SPDX-License-Identifier: BSD-2-Clause
"""The manifest folder: every way in which files change, and every kind of object in it."""

import json
import os
import pathlib
import shutil

import pytest
import yaml

import manifests
from lab import NODES, ROOT, address_of, wait_for
from manifests import (
    both_protocols,
    endpoint,
    list_of,
    next_vip,
    pod,
    service,
    service_port,
    slice_,
)
from world import World

RECORDED = pathlib.Path(os.environ.get("FAIRLEAD_FIXTURES", ROOT / "tests" / "fixtures" / "kube"))
BACKENDS = ["pod1b", "pod1c", "pod2b", "pod2c"]
each_family = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])


def answering(world, vip, port=80, proto="tcp", client="pod1a", until=()):
    return {result.get("answer", {}).get("name", result.get("error"))
            for result in world.place(client).ask_many(24, vip, port, proto, until=list(until))}


def expect(world, vip, names, **how):
    assert answering(world, vip, until=names, **how) == set(names)


# Files.


def test_a_file_that_is_added_changed_and_removed_is_live_each_time(world):
    vip = next_vip(4)
    world.publish(service("web", vip), slice_("web", ["pod1b"]), name="web")
    expect(world, vip, ["pod1b"])
    world.publish(service("web", vip), slice_("web", ["pod2b", "pod2c"]), name="web")
    expect(world, vip, ["pod2b", "pod2c"])
    world.withdraw("web")
    assert world.place("pod1a").ask(vip, timeout=0.2)["error"] == "timeout"
    world.leaked()


def test_one_object_a_file_or_many_in_one_is_the_same(world):
    first, second = next_vip(4), next_vip(4)
    world.publish(service("one", first), name="one-service")
    world.publish(slice_("one", ["pod1b"]), name="one-slice")
    world.publish(service("two", second), slice_("two", ["pod2b"]), name="two")
    expect(world, first, ["pod1b"])
    expect(world, second, ["pod2b"])


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
def test_every_suffix_is_read(world, suffix):
    vip = next_vip(4)
    objects = [service("web", vip), slice_("web", ["pod2c"])]
    if suffix == ".json":
        text = json.dumps(list_of(objects))
    else:
        text = yaml.safe_dump_all(objects)
    world.folder.write_text(f"suffix{suffix}", text)
    world.settle()
    expect(world, vip, ["pod2c"])
    world.folder.remove(f"suffix{suffix}")
    world.settle()


def test_what_kubectl_get_prints_is_read_as_it_is(world):
    vip = next_vip(4)
    items = [service("web", vip), slice_("web", ["pod1c"]), manifests.node("node1"),
             pod("pod2c", "unrelated")]
    world.folder.write_text("kubectl.yaml", yaml.safe_dump(list_of(items)))
    world.settle()
    expect(world, vip, ["pod1c"])
    world.folder.remove("kubectl")
    world.settle()


def test_a_typed_list_whose_items_do_not_repeat_their_kind_is_read(world):
    """This is how the API server itself sends lists."""
    vip = next_vip(4)

    def bare(item):
        return {key: value for key, value in item.items() if key not in ("kind", "apiVersion")}

    world.publish(list_of([bare(service("web", vip))], "ServiceList"), name="services")
    world.publish(list_of([bare(slice_("web", ["pod2b"]))], "EndpointSliceList",
                          "discovery.k8s.io/v1"), name="slices")
    expect(world, vip, ["pod2b"])


def test_names_that_begin_with_a_dot_and_other_suffixes_are_not_read(world):
    vip = next_vip(4)
    for name in (".web.yaml", "web.yaml~", "web.bak", "web.yaml.swp"):
        (world.folder.path / name).write_text(json.dumps(service("hidden", vip)))
    world.settle()
    for agent in world.agents.values():
        assert vip not in {address for address, _, _ in agent.frontends()}
    for name in (".web.yaml", "web.yaml~", "web.bak", "web.yaml.swp"):
        (world.folder.path / name).unlink()


def test_a_half_written_file_does_no_harm(world):
    vip = world.simple("web", 4, ["pod1b", "pod2b"])
    text = json.dumps(service("web", vip)) + "\n---\n" + json.dumps(slice_("web", ["pod2b"])) + "\n"
    path = world.folder.path / "web.yaml"
    with open(path, "w", encoding="utf-8") as file:
        for position in range(0, len(text), 97):
            file.write(text[position:position + 97])
            file.flush()
            assert "answer" in world.place("pod1a").ask(vip)
    world.settle()
    expect(world, vip, ["pod2b"])


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_a_file_that_is_emptied_keeps_what_it_gave(world, suffix):
    vip = next_vip(4)
    name = f"emptied.{suffix}"
    objects = [service("emptied", vip), slice_("emptied", ["pod1b"])]
    world.folder.write_text(name, json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    world.settle()
    expect(world, vip, ["pod1b"])
    (world.folder.path / name).write_text("", encoding="utf-8")
    world.agents["node1"].wait_for_log("it is empty")
    world.settle()
    expect(world, vip, ["pod1b"])
    world.folder.remove(name)
    world.settle()
    for agent in world.agents.values():
        assert vip not in {address for address, _, _ in agent.frontends()}


def test_a_file_moved_in_replaces_and_a_file_moved_out_removes(world, tmp_path):
    vip = next_vip(4)
    outside = pathlib.Path(world.lab.directory) / "moved.yaml"
    outside.write_text(json.dumps(service("web", vip)) + "\n---\n" + json.dumps(slice_("web", ["pod1b"])))
    os.rename(outside, world.folder.path / "moved.yaml")
    world.settle()
    expect(world, vip, ["pod1b"])
    os.rename(world.folder.path / "moved.yaml", outside)
    world.settle()
    assert "error" in world.place("pod1a").ask(vip, timeout=0.2)
    world.leaked()


def test_a_file_renamed_within_the_folder_changes_nothing(world):
    vip = world.simple("web", 4, ["pod1b"])
    place = world.place("pod1a")
    handle = place.call("asking_start", targets=[[vip, 80, "tcp"]])
    os.rename(world.folder.path / "web.yaml", world.folder.path / "renamed.yaml")
    world.settle()
    os.rename(world.folder.path / "renamed.yaml", world.folder.path / "web.yaml")
    world.settle()
    state = place.call("asking_stop", handle=handle)
    assert not state["failures"], state["failures"]


def test_a_symlink_swap_as_kubelet_does_it_is_live():
    """..data points to a folder of its own for each version; the files are links through it."""
    with World("socket,tc", serve=True) as made:
        vip = next_vip(4)
        base = made.folder.path

        def version(number, pods):
            directory = base / f"..{number}"
            directory.mkdir()
            (directory / "web.yaml").write_text(
                json.dumps(service("web", vip)) + "\n---\n" + json.dumps(slice_("web", pods)))
            (base / "..data_tmp").symlink_to(f"..{number}")
            os.rename(base / "..data_tmp", base / "..data")

        version(1, ["pod1b"])
        (base / "web.yaml").symlink_to("..data/web.yaml")
        made.settle()
        expect(made, vip, ["pod1b"])
        version(2, ["pod2b", "pod2c"])
        shutil.rmtree(base / "..1")
        made.settle()
        expect(made, vip, ["pod2b", "pod2c"])


def test_the_same_object_in_two_files_survives_the_removal_of_one(world):
    vip = next_vip(4)
    objects = [service("web", vip), slice_("web", ["pod1b"])]
    world.publish(*objects, name="copy1")
    world.publish(*objects, name="copy2")
    world.withdraw("copy1")
    expect(world, vip, ["pod1b"])


# Bad content.


@pytest.mark.parametrize("text", [
    "{", "a: [1, 2", "\t- x", "kind: Service\nspec: 3\n", "- just\n- a\n- list\n", "", "%!@#$", "\0\1\2",
    "kind: Service\napiVersion: v1\nmetadata: {name: x, namespace: y}\nspec: {clusterIP: 1.2.3}\n",
    "kind: Frobnicator\napiVersion: v9\n", "&a [*a, *a]", "? ? ?",
], ids=range(12))
def test_bad_content_is_survived_and_the_rest_is_served(world, text):
    vip = world.simple("web", 4, ["pod1b"])
    world.folder.write_text("bad.yaml", text)
    world.settle()
    expect(world, vip, ["pod1b"])
    after = world.simple("after", 4, ["pod2b"])
    expect(world, after, ["pod2b"])
    world.folder.remove("bad")


def test_a_bad_object_is_reported_with_file_and_line_and_its_neighbours_are_used(world):
    vip = next_vip(4)
    bad = service("bad-address", vip)
    bad["spec"]["clusterIP"], bad["spec"]["clusterIPs"] = "10.96.300.1", ["10.96.300.1"]
    world.folder.write_text("mixed.yaml", "\n---\n".join([
        yaml.safe_dump(service("web", vip)), yaml.safe_dump(bad), yaml.safe_dump(slice_("web", ["pod1b"]))]))
    world.settle()
    expect(world, vip, ["pod1b"])
    log = world.agents["node1"].text()
    lines = [line for line in log.splitlines() if "bad-address" in line]
    assert lines, log[-2000:]
    assert "mixed.yaml" in lines[-1] and ":" in lines[-1]
    assert world.agents["node1"].json("status")["source"]["rejected_objects"] >= 1
    world.folder.remove("mixed")


def test_what_may_be_a_mistake_is_reported_with_file_line_and_remedy(world):
    vip = next_vip(4)
    written = service("web", vip)
    written["spec"]["clusterIp"] = written["spec"].pop("clusterIP")
    world.folder.write_text("mistaken.yaml", "\n---\n".join([
        yaml.safe_dump(written, sort_keys=False), yaml.safe_dump(slice_("web", ["pod1b"]))]))
    lost = slice_("web", ["pod2b"], name="lost")
    del lost["metadata"]["labels"]
    world.folder.write_text("lost.json", json.dumps(lost, indent=1))
    world.settle()
    expect(world, vip, ["pod1b"])
    log = world.agents["node1"].text()
    lines = (world.folder.path / "mistaken.yaml").read_text().splitlines()
    line = lines.index(f"  clusterIp: {vip}") + 1
    assert (f"mistaken.yaml:{line}: Service default/web: unknown field spec.clusterIp, did you mean clusterIP?"
            in log), log[-2000:]
    assert ("lost.json:4: EndpointSlice default/lost: it has no label kubernetes.io/service-name, so no Service "
            "uses it: add the label with the Service's name" in log), log[-2000:]
    world.folder.remove("mistaken")
    world.folder.remove("lost.json")


# Endpoints from other objects.


@each_family
def test_pods_that_the_selector_selects_become_endpoints(world, family):
    vip = next_vip(family)
    world.publish(service("web", vip, [service_port(80, "TCP", "http", "web")], selector={"app": "web"}))
    world.publish(pod("pod1b", "web", [family]), pod("pod2b", "web", [family]),
                  pod("pod2c", "other", [family]), pod("pod1c", "web", [family], ready=False), name="pods")
    expect(world, vip, ["pod1b", "pod2b"])
    world.publish(pod("pod1c", "web", [family]), name="pods")
    expect(world, vip, ["pod1c"])
    world.withdraw("pods")
    assert world.place("pod1a").ask(vip)["error"] == "ECONNREFUSED"


def test_a_named_target_port_is_each_pod_s_own(world):
    vip = next_vip(4)
    world.publish(
        service("web", vip, [service_port(80, "TCP", "http", "web")], selector={"app": "web"}),
        pod("pod1b", "web", ports=[{"name": "web", "containerPort": 8081}]),
        pod("pod2b", "web", ports=[{"name": "web", "containerPort": 8082}]))
    ports = {result["answer"]["name"]: result["answer"]["port"]
             for result in world.place("pod1a").ask_many(30, vip, until=["pod1b", "pod2b"])}
    assert ports == {"pod1b": 8081, "pod2b": 8082}


def test_dual_stack_pods_serve_both_families(world):
    vip4, vip6 = next_vip(4), next_vip(6)
    world.publish(service("web", [vip4, vip6], both_protocols(), selector={"app": "web"}),
                  pod("pod1b", "web", (4, 6)), pod("pod2b", "web", (4, 6)))
    for vip in (vip4, vip6):
        expect(world, vip, ["pod1b", "pod2b"])
        expect(world, vip, ["pod1b", "pod2b"], proto="udp")


def test_publish_not_ready_addresses_publishes_them(world):
    vip = next_vip(4)
    world.publish(service("web", vip, selector={"app": "web"}, publishNotReadyAddresses=True),
                  pod("pod1b", "web", ready=False))
    expect(world, vip, ["pod1b"])


def test_slices_win_over_pods(world):
    vip = next_vip(4)
    world.publish(service("web", vip, selector={"app": "web"}), pod("pod1b", "web"))
    expect(world, vip, ["pod1b"])
    world.publish(slice_("web", ["pod2b"]), name="slice")
    expect(world, vip, ["pod2b"])
    world.withdraw("slice")
    expect(world, vip, ["pod1b"])


def test_a_pod_that_becomes_ready_is_used_and_one_that_terminates_is_not(world):
    vip = next_vip(4)
    world.publish(service("web", vip, selector={"app": "web"}))
    world.publish(pod("pod1b", "web"), pod("pod2b", "web", ready=False), name="pods")
    expect(world, vip, ["pod1b"])
    leaving = pod("pod1b", "web")
    leaving["metadata"]["deletionTimestamp"] = "2024-01-01T00:00:00Z"
    world.publish(leaving, pod("pod2b", "web"), name="pods")
    expect(world, vip, ["pod2b"])


def test_endpoints_without_a_selector_work(world):
    vip = next_vip(4)
    made = {
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "manual", "namespace": "default"},
        "subsets": [{
            "addresses": [{"ip": address_of("pod1b", 4)}, {"ip": address_of("pod2c", 4)}],
            "notReadyAddresses": [{"ip": address_of("pod1c", 4)}],
            "ports": [{"name": "tcp", "port": 8080, "protocol": "TCP"},
                      {"name": "udp", "port": 8080, "protocol": "UDP"}],
        }],
    }
    world.publish(service("manual", vip), made)
    expect(world, vip, ["pod1b", "pod2c"])
    expect(world, vip, ["pod1b", "pod2c"], proto="udp")


def test_slices_may_come_before_their_service(world):
    vip = next_vip(4)
    world.publish(slice_("early", ["pod1b"]), name="slice")
    world.publish(service("early", vip), name="service")
    expect(world, vip, ["pod1b"])


def test_an_endpoint_in_two_slices_is_one_backend(world):
    vip = next_vip(4)
    world.publish(service("web", vip), slice_("web", ["pod1b", "pod2b"], name="first"),
                  slice_("web", ["pod2b", "pod2c"], name="second"))
    expect(world, vip, ["pod1b", "pod2b", "pod2c"])
    rows = [row for row in world.agents["node1"].json("services", "default/web")
            if row["protocol"] == "TCP"]
    assert len(rows) == 1 and len(rows[0]["backends"]) == 3


def test_labels_that_hand_a_service_to_another_take_effect_and_are_undone(world):
    vip = next_vip(4)
    world.publish(service("web", vip), name="web")
    world.publish(slice_("web", ["pod1b"]), name="slice")
    expect(world, vip, ["pod1b"])
    world.publish(service("web", vip, labels={"service.kubernetes.io/service-proxy-name": ""}), name="web")
    assert world.place("pod1a").ask(vip, timeout=0.2)["error"] == "timeout"
    world.publish(service("web", vip), name="web")
    expect(world, vip, ["pod1b"])
    world.leaked()


def test_a_node_s_zone_that_changes_takes_effect(world):
    vip = next_vip(4)
    hinted = [endpoint("pod1b", 4, hints={"forZones": [{"name": "a"}]}),
              endpoint("pod2b", 4, hints={"forZones": [{"name": "b"}]})]
    world.publish(service("web", vip), slice_("web", hinted))
    world.publish(manifests.zoned_node("node1", "a"), name="node")
    expect(world, vip, ["pod1b"])
    world.publish(manifests.zoned_node("node1", "b"), name="node")
    expect(world, vip, ["pod2b"])
    world.withdraw("node")
    expect(world, vip, ["pod1b", "pod2b"])


# Recorded lists.


def recorded(name):
    return json.loads((RECORDED / name).read_text(encoding="utf-8"))


def programmable(item):
    spec, labels = item["spec"], item["metadata"].get("labels") or {}
    vips = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return spec["type"] != "ExternalName" and vips[0] not in (None, "", "None") and \
        "service.kubernetes.io/service-proxy-name" not in labels


def expected_frontends(services):
    numbers = {"TCP": 6, "UDP": 17, "SCTP": 132}
    return {
        (vip, port["port"], numbers[port["protocol"]])
        for item in services["items"] if programmable(item)
        for vip in item["spec"].get("clusterIPs") or [item["spec"]["clusterIP"]]
        for port in item["spec"]["ports"] if port["protocol"] in numbers
    }


LISTS = ("services-list.json", "endpointslices-v1-list.json", "endpoints-list.json", "nodes-list.json")


def test_lists_of_a_real_api_server_are_programmed_whole(world):
    services = recorded("services-list.json")
    for name in LISTS:
        shutil.copy(RECORDED / name, world.folder.path / name)
    world.settle()
    try:
        for node in NODES:
            agent = world.agents[node]
            status = agent.json("status")
            assert status["source"]["services"] >= len(services["items"])
            assert status["source"]["endpoint_slices"] == len(recorded(LISTS[1])["items"])
            missing = expected_frontends(services) - agent.frontends()
            assert not missing, sorted(missing)
            rows = agent.json("services")
            shown = {(frontend["address"], frontend["port"], {"TCP": 6, "UDP": 17, "SCTP": 132}[row["protocol"]])
                     for row in rows if row["programmed"] for frontend in row["frontends"]}
            assert expected_frontends(services) <= shown
            for item in services["items"]:
                found = [row for row in rows if (row["namespace"], row["name"]) == (
                    item["metadata"]["namespace"], item["metadata"]["name"])]
                assert found, item["metadata"]
                assert any(row["programmed"] for row in found) == programmable(item)
                assert all(row["reason"] for row in found if not row["programmed"])
    finally:
        for name in LISTS:
            (world.folder.path / name).unlink()
        world.settle()
    left = {address for address, _, _ in world.agents["node1"].frontends()}
    assert not left & {address for address, _, _ in expected_frontends(services)}


def test_lists_of_a_later_moment_change_only_what_differs(world):
    for name in LISTS:
        shutil.copy(RECORDED / name, world.folder.path / name)
    world.settle()
    agent = world.agents["node1"]
    before = {row["id"]: (row["namespace"], row["name"], row["port_name"], row["protocol"], row["family"])
              for row in agent.json("services") if row["programmed"] and row["namespace"] != "barrier"}
    shutil.copy(RECORDED / "services-list-after.json", world.folder.path / ".next")
    os.rename(world.folder.path / ".next", world.folder.path / "services-list.json")
    world.settle()
    after = recorded("services-list-after.json")
    assert expected_frontends(after) <= agent.frontends()
    now = {row["id"]: (row["namespace"], row["name"], row["port_name"], row["protocol"], row["family"])
           for row in agent.json("services") if row["programmed"]}
    kept = set(before.values()) & set(now.values())
    assert len(kept) > 20
    for number, identity in before.items():
        if identity in kept:
            assert now[number] == identity
    for name in LISTS:
        (world.folder.path / name).unlink()
    world.settle()


@pytest.mark.parametrize("name", [
    "services-list-pretty.json", "services-list-newer.json", "services-list-ipv4only.json",
    "services-list-labelselector.json", "endpoints-list-empty.json"])
def test_every_other_form_of_list_is_read(world, name):
    shutil.copy(RECORDED / name, world.folder.path / name)
    world.settle()
    content = recorded(name)
    if content["kind"] == "ServiceList":
        assert expected_frontends(content) <= world.agents["node1"].frontends()
    (world.folder.path / name).unlink()
    world.settle()


def test_all_recorded_lists_at_once_do_no_harm(world):
    """Different moments of one cluster contradict each other; what matters is that all is survived."""
    vip = world.simple("web", 4, ["pod1b"])
    copied = []
    for path in sorted(RECORDED.glob("*-list*.json")) + sorted(RECORDED.glob("*-page-*.json")):
        shutil.copy(path, world.folder.path / path.name)
        copied.append(world.folder.path / path.name)
    world.settle()
    expect(world, vip, ["pod1b"])
    assert world.agents["node1"].running()
    for path in copied:
        path.unlink()
    world.settle()
    expect(world, vip, ["pod1b"])


def test_a_folder_that_does_not_exist_is_said_in_a_sentence(lab):
    from lab import Agent

    agent = Agent(lab, "node1", lab.directory / "nowhere")
    agent.start(ready=False)
    assert agent.process.wait(10) != 0
    wait_for(lambda: "nowhere" in agent.text(), "the folder's name in the log")
    agent.cleanup()
