/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * `fairlead agent`: one process, one thread, one event loop. The source updates the model; then the
 * dirty Services are planned and published, all changes of one wake-up in one batch. Stopping the
 * agent changes nothing in the kernel.
 */

#include "agent/agent.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <uv.h>

#include "agent/agent_state.h"
#include "config/config_watch.h"
#include "agent/hook_guard.h"
#include "config/kube_proxy_config.h"
#include "agent/log_timer.h"
#include "agent/observe.h"
#include "config/options.h"
#include "agent/prepare.h"
#include "health/service_health_ports.h"
#include "base/cleanup.h"
#include "base/netns.h"
#include "base/log.h"
#include "model/model.h"
#include "source/source.h"

static void stop(uv_signal_t *handle, int number)
{
	struct agent *agent = handle->data;

	log_info("stopping on signal %d; the datapath goes on without the agent", number);
	uv_stop(&agent->loop);
}

static bool signal_is_ignored(int number)
{
	struct sigaction action;

	return !sigaction(number, NULL, &action) && action.sa_handler == SIG_IGN;
}

static int loop_open(struct agent *agent)
{
	int err = uv_loop_init(&agent->loop);

	if (err)
		return log_err(err, "cannot make the event loop");
	(void)uv_signal_init(&agent->loop, &agent->terminate);
	(void)uv_signal_init(&agent->loop, &agent->interrupt);
	(void)uv_signal_init(&agent->loop, &agent->hangup);
	(void)uv_timer_init(&agent->loop, &agent->reclaim);
	(void)uv_timer_init(&agent->loop, &agent->retry);
	log_timer_open(&agent->loop, &agent->log_timer);
	agent->terminate.data = agent;
	agent->interrupt.data = agent;
	agent->hangup.data = agent;
	agent->reclaim.data = agent;
	agent->retry.data = agent;
	agent->grace.over = agent_grace_over;
	agent->grace.context = agent;
	err = uv_signal_start(&agent->terminate, stop, SIGTERM);
	if (!err)
		err = uv_signal_start(&agent->interrupt, stop, SIGINT);
	/* nohup ignores SIGHUP so that the process survives it. */
	if (!err && !signal_is_ignored(SIGHUP))
		err = uv_signal_start(&agent->hangup, stop, SIGHUP);
	return err ? log_err(err, "cannot watch for signals") : 0;
}

static int observe_begin(struct agent *agent)
{
	const struct observe_sources sources = {
		.options = &agent->options,
		.status = &agent->status,
		.model = agent->model,
		.datapath = &agent->datapath,
		.publisher = &agent->publisher,
		.unserved = agent_tell_unserved,
		.context = agent,
	};

	return observe_open(&agent->loop, &sources, &agent->observe);
}

static bool proxy_is_alive(void *context)
{
	const struct agent *agent = context;

	return observe_is_alive(agent->observe);
}

static int health_ports_begin(struct agent *agent)
{
	const struct service_health_options options = {
		.node_name = agent->options.node_name,
		.is_alive = proxy_is_alive,
		.failed = agent_tell_service_unserved,
		.context = agent,
	};

	agent->health_ports = service_health_ports_new(&agent->loop, &options);
	return agent->health_ports ? 0 : log_err(-ENOMEM, "cannot prepare Services' health checks");
}

static int guard_begin(struct agent *agent)
{
	agent->hook_guard =
		hook_guard_new(&agent->loop, &(struct hook_guard_sources){
						     .interval_s = agent->options.hook_check_s,
						     .pin_dir = agent->options.pin_dir,
						     .cgroup = agent->cgroup,
						     .are_hooked = &agent->are_sockets_hooked,
						     .datapath = &agent->datapath,
						     .links = &agent->links,
						     .observe = agent->observe,
						     .lost = agent_tell_hook_lost,
						     .context = agent,
					     });
	return agent->hook_guard ? 0 : log_err(-ENOMEM, "cannot look after the hooks");
}

static int serve_begin(struct agent *agent)
{
	agent->failed = observe_serve(agent->observe);
	if (agent->failed)
		agent_tell_last_words(agent);
	return agent->failed;
}

/*
 * Ends the agent: its supervisor restarts it with the new file, and the datapath keeps working
 * meanwhile.
 */
static void config_changed(void *context)
{
	struct agent *agent = context;

	(void)log_err(0, "the configuration file %s has changed: ending, to be started anew",
		      agent->options.config_file);
	agent->failed = -ESTALE;
	uv_stop(&agent->loop);
}

static int config_follow(struct agent *agent)
{
	const struct agent_options *options = &agent->options;

	if (!options->config_file)
		return 0;
	return config_watch_open(&agent->loop, options->config_file, &options->config_mark,
				 config_changed, agent, &agent->config_watch);
}

static int agent_start(struct agent *agent)
{
	int err = loop_open(agent);

	if (!err)
		err = config_follow(agent);
	if (!err)
		err = capabilities_check();
	if (!err)
		err = agent_choose_cgroup(agent);
	if (err)
		return err;
	agent->options.config.netns_cookie = netns_cookie();
	agent_status_begin(agent);
	agent->model = model_new();
	if (!agent->model)
		return log_err(-ENOMEM, "cannot allocate the model");
	err = observe_begin(agent);
	if (!err)
		err = health_ports_begin(agent);
	if (!err)
		err = guard_begin(agent);
	if (!err)
		err = agent_source_open(agent);
	if (!err)
		err = serve_begin(agent);
	if (err)
		return err;
	agent_tell_start(agent);
	if (agent->options.manifests)
		observe_source_reachable(agent->observe, NULL);
	else
		err = agent_datapath_take_up(agent);
	return err;
}

static void handle_close(uv_handle_t *handle, void *context)
{
	(void)context;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

static void agent_stop(struct agent *agent)
{
	source_close(agent->source);
	hook_guard_close(take_ptr(agent->hook_guard));
	config_watch_close(take_ptr(agent->config_watch));
	service_health_ports_close(take_ptr(agent->health_ports));
	observe_close(take_ptr(agent->observe));
	agent_datapath_end(agent);
	uv_walk(&agent->loop, handle_close, NULL);
	(void)uv_run(&agent->loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&agent->loop);
	plan_inputs_fini(&agent->plan_inputs);
	model_free(agent->model);
	free(agent->cgroup);
}

static int agent_run(struct agent *agent)
{
	int err;

	oom_score_adjust(agent->options.oom_score_adj);
	err = agent_start(agent);
	if (!err)
		(void)uv_run(&agent->loop, UV_RUN_DEFAULT);
	agent_stop(agent);
	log_repeats_tell_all();
	return err ? err : agent->failed;
}

/* If several tasks are requested, only the first in kube-proxy's order runs. */
static int task_run(struct agent *agent)
{
	const struct agent_options *options = &agent->options;

	if (options->write_config_to)
		return kube_proxy_config_write(&options->values, options->write_config_to);
	if (options->cleanup)
		return agent_cleanup(options->pin_dir);
	if (options->init_only)
		return agent_init_only(options->pin_dir);
	return agent_run(agent);
}

int agent_main(int argc, char **argv)
{
	struct agent agent = {};
	int err;

	/* The reader of the log may exit: that must not kill the agent. */
	(void)signal(SIGPIPE, SIG_IGN);
	err = agent_options_read(argc, argv, &agent.options);
	if (!err)
		err = task_run(&agent);
	agent_options_free(&agent.options);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
