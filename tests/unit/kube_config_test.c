/* SPDX-License-Identifier: BSD-2-Clause */

/* Kubeconfigs as people and installers write them, and what a Pod is given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kube/config/base64.h"
#include "kube/config/config.h"

#define PEM "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
#define PEM_BASE64 \
	"LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCkFBQUEKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo="

struct fixture {
	char dir[64];
	char path[96];
	char log_path[96];
	char log[4096]; /* what the last call wrote */
	struct kube_config *config;
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	if (!fixture)
		return -1;
	(void)snprintf(fixture->dir, sizeof(fixture->dir), "%s/fl-kubeconfig-XXXXXX",
		       getenv("TMPDIR") ?: "/tmp");
	if (!mkdtemp(fixture->dir))
		return -1;
	(void)snprintf(fixture->path, sizeof(fixture->path), "%s/config", fixture->dir);
	(void)snprintf(fixture->log_path, sizeof(fixture->log_path), "%s/log", fixture->dir);
	*state = fixture;
	return 0;
}

static int entry_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	kube_config_free(fixture->config);
	(void)nftw(fixture->dir, entry_remove, 8, FTW_DEPTH | FTW_PHYS);
	free(fixture);
	return 0;
}

static void given_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

/* Standard error goes into a file from here on. */
static int log_begin(const struct fixture *fixture)
{
	int saved = dup(STDERR_FILENO);
	int fd = open(fixture->log_path, O_CREAT | O_TRUNC | O_RDWR, 0600);

	assert_true(saved >= 0 && fd >= 0);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	(void)close(fd);
	return saved;
}

static void log_end(struct fixture *fixture, int saved)
{
	FILE *file = fopen(fixture->log_path, "r");
	size_t size;

	(void)dup2(saved, STDERR_FILENO);
	(void)close(saved);
	assert_non_null(file);
	size = fread(fixture->log, 1, sizeof(fixture->log) - 1, file);
	fixture->log[size] = '\0';
	(void)fclose(file);
}

static int when_loaded(struct fixture *fixture, const char *text)
{
	int saved, err;

	given_file(fixture->path, text);
	kube_config_free(fixture->config);
	fixture->config = NULL;
	saved = log_begin(fixture);
	err = kube_config_load(fixture->path, &fixture->config);
	log_end(fixture, saved);
	return err;
}

/* A kubeconfig with these members of its cluster and its user, in YAML's flow style. */
static int when_loaded_with(struct fixture *fixture, const char *cluster, const char *user)
{
	char text[4096];

	(void)snprintf(text, sizeof(text),
		       "apiVersion: v1\nkind: Config\ncurrent-context: here\n"
		       "contexts: [{name: here, context: {cluster: c, user: u}}]\n"
		       "clusters: [{name: c, cluster: {%s}}]\n"
		       "users: [{name: u, user: {%s}}]\n",
		       cluster, user);
	return when_loaded(fixture, text);
}

static void then_refused(struct fixture *fixture, const char *cluster, const char *user,
			 const char *why)
{
	assert_int_equal(when_loaded_with(fixture, cluster, user), -EINVAL);
	assert_null(fixture->config);
	if (!strstr(fixture->log, why))
		fail_msg("\"%s\" is not in: %s", why, fixture->log);
	assert_ptr_equal(strchr(fixture->log, '\n'), fixture->log + strlen(fixture->log) - 1);
}

static void then_server(struct fixture *fixture, const char *written, const char *server)
{
	char cluster[256];

	(void)snprintf(cluster, sizeof(cluster), "server: '%s'", written);
	assert_int_equal(when_loaded_with(fixture, cluster, ""), 0);
	assert_int_equal(fixture->config->server_count, 1);
	assert_string_equal(fixture->config->servers[0], server);
}

static void the_current_context_names_the_cluster_and_the_user(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_loaded(fixture,
				     "apiVersion: v1\n"
				     "kind: Config\n"
				     "preferences: {colors: true}\n"
				     "clusters:\n"
				     "- name: far\n"
				     "  cluster:\n"
				     "    server: https://192.0.2.9:6443\n"
				     "- name: near\n"
				     "  cluster:\n"
				     "    server: https://192.0.2.1:6443/\n"
				     "    tls-server-name: api.example\n"
				     "    proxy-url: socks5://192.0.2.7:1080\n"
				     "    certificate-authority-data: " PEM_BASE64 "\n"
				     "    something-new: 1\n"
				     "users:\n"
				     "- {name: nobody, user: {token: wrong}}\n"
				     "- name: agent\n"
				     "  user:\n"
				     "    token: abc.def_ghi\n"
				     "contexts:\n"
				     "- name: other\n"
				     "  context: {cluster: far, user: nobody}\n"
				     "- name: this\n"
				     "  context: {cluster: near, user: agent, namespace: x}\n"
				     "current-context: this\n"),
			 0);
	assert_string_equal(fixture->config->origin, fixture->path);
	assert_string_equal(fixture->config->servers[0], "https://192.0.2.1:6443");
	assert_string_equal(fixture->config->tls_server_name, "api.example");
	assert_string_equal(fixture->config->proxy_url, "socks5://192.0.2.7:1080");
	assert_string_equal(fixture->config->ca_pem, PEM);
	assert_string_equal(fixture->config->token, "abc.def_ghi");
	assert_false(fixture->config->insecure);
	assert_null(fixture->config->exec);
	assert_string_equal(fixture->log, "");
}

static void json_is_read_as_well(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(
		when_loaded(
			fixture,
			"{\n\t\"kind\": \"Config\", \"apiVersion\": \"v1\",\n"
			"\t\"current-context\": \"a\",\n"
			"\t\"contexts\": [{\"name\": \"a\", \"context\": {\"cluster\": \"a\"}}],\n"
			"\t\"clusters\": [{\"name\": \"a\", \"cluster\":\n"
			"\t\t{\"server\": \"https:\\/\\/[2001:db8::1]:6443\"}}]\n}\n"),
		0);
	assert_string_equal(fixture->config->servers[0], "https://[2001:db8::1]:6443");
}

static void a_server_is_written_in_one_form(void **state)
{
	struct fixture *fixture = *state;

	then_server(fixture, "https://192.0.2.1:6443", "https://192.0.2.1:6443");
	then_server(fixture, "192.0.2.1:6443", "https://192.0.2.1:6443");
	then_server(fixture, "api.example", "https://api.example:443");
	then_server(fixture, "https://api.example///", "https://api.example:443");
	then_server(fixture, "HTTPS://api.example/k8s/clusters/c-1/",
		    "https://api.example:443/k8s/clusters/c-1");
	then_server(fixture, "[2001:db8::1]:6443", "https://[2001:db8::1]:6443");
	assert_string_equal(fixture->log, "");
}

static void what_is_no_server_is_refused(void **state)
{
	struct fixture *fixture = *state;

	then_refused(fixture, "", "", "cluster \"c\": server is missing");
	then_refused(fixture, "server: ''", "", "server is missing");
	then_refused(fixture, "server: 7", "", "server is not a string");
	then_refused(fixture, "server: 'ftp://192.0.2.1'", "", "neither https:// nor http://");
	then_refused(fixture, "server: 'https://2001:db8::1:6443'", "", "is no URL");
	then_refused(fixture, "server: 'https://192.0.2.1:123456'", "", "is no URL");
	then_refused(fixture, "server: 'https://me:pw@192.0.2.1'", "", "server has a user in it");
	assert_null(strstr(fixture->log, "pw"));
	then_refused(fixture, "server: 'https://192.0.2.1/?a=b'", "", "has a query");
}

static void secrets_go_unencrypted_to_this_machine_only(void **state)
{
	struct fixture *fixture = *state;

	then_refused(fixture, "server: 'http://192.0.2.1:8080'", "token: abc", "use https://");
	then_refused(fixture, "server: 'http://localhost.example:8080'", "username: a, password: b",
		     "use https://");
	assert_int_equal(when_loaded_with(fixture, "server: 'http://127.0.0.1:8001'", "token: abc"),
			 0);
	assert_non_null(strstr(fixture->log, "not encrypted"));
	assert_int_equal(when_loaded_with(fixture, "server: 'http://[::1]:8001'", "token: abc"), 0);
	assert_int_equal(when_loaded_with(fixture, "server: 'http://192.0.2.1:8001'", ""), 0);
	assert_non_null(strstr(fixture->log, "not encrypted"));
}

static void files_are_relative_to_the_kubeconfig(void **state)
{
	struct fixture *fixture = *state;
	char expected[160];

	assert_int_equal(when_loaded_with(fixture, "server: h, certificate-authority: pki/ca.crt",
					  "client-certificate: /etc/c.pem, client-key: key.pem, "
					  "tokenFile: ../token"),
			 0);
	(void)snprintf(expected, sizeof(expected), "%s/pki/ca.crt", fixture->dir);
	assert_string_equal(fixture->config->ca_file, expected);
	assert_string_equal(fixture->config->client_cert_file, "/etc/c.pem");
	(void)snprintf(expected, sizeof(expected), "%s/key.pem", fixture->dir);
	assert_string_equal(fixture->config->client_key_file, expected);
	(void)snprintf(expected, sizeof(expected), "%s/../token", fixture->dir);
	assert_string_equal(fixture->config->token_file, expected);
}

static void a_kubeconfig_named_without_a_folder_is_in_the_working_directory(void **state)
{
	struct fixture *fixture = *state;
	char *before = getcwd(NULL, 0);
	char expected[160];

	assert_int_equal(when_loaded_with(fixture, "server: h, certificate-authority: ca.crt", ""),
			 0);
	kube_config_free(fixture->config);
	fixture->config = NULL;
	assert_int_equal(chdir(fixture->dir), 0);
	assert_int_equal(kube_config_load("config", &fixture->config), 0);
	assert_int_equal(chdir(before), 0);
	free(before);
	(void)snprintf(expected, sizeof(expected), "%s/ca.crt", fixture->dir);
	assert_string_equal(fixture->config->ca_file, expected);
}

static void data_wins_over_a_file(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_loaded_with(fixture,
					  "server: h, certificate-authority: /x/ca.crt, "
					  "certificate-authority-data: " PEM_BASE64,
					  "client-certificate: /x/cert, client-key: /x/key, "
					  "client-certificate-data: " PEM_BASE64
					  ", client-key-data: " PEM_BASE64),
			 0);
	assert_null(fixture->config->ca_file);
	assert_string_equal(fixture->config->ca_pem, PEM);
	assert_null(fixture->config->client_cert_file);
	assert_string_equal(fixture->config->client_cert_pem, PEM);
	assert_null(fixture->config->client_key_file);
	assert_string_equal(fixture->config->client_key_pem, PEM);
}

static void contradictions_and_wrong_values_are_refused(void **state)
{
	struct fixture *fixture = *state;

	then_refused(fixture,
		     "server: h, insecure-skip-tls-verify: true, certificate-authority: ca.crt", "",
		     "insecure-skip-tls-verify is true, but there is a certificate-authority");
	then_refused(fixture, "server: h, insecure-skip-tls-verify: 'yes'", "",
		     "insecure-skip-tls-verify is neither true nor false");
	then_refused(fixture, "server: h, certificate-authority-data: '%%%'", "",
		     "certificate-authority-data is not base64");
	then_refused(fixture, "server: h, certificate-authority-data: aGVsbG8=", "",
		     "certificate-authority-data is not PEM");
	then_refused(fixture, "server: h, proxy-url: 'socks4://192.0.2.1'", "",
		     "proxy-url does not begin with");
	then_refused(fixture, "server: h, proxy-url: '192.0.2.1:3128'", "",
		     "proxy-url does not begin with");
	then_refused(fixture, "server: h", "client-certificate: c.pem", "client-key is missing");
	then_refused(fixture, "server: h", "client-key: k.pem", "client-certificate is missing");
	then_refused(fixture, "server: h", "token: 'a b'", "user \"u\": token has spaces");
	then_refused(fixture, "server: h", "token: a, username: b", "remove one of them");
	then_refused(fixture, "server: h", "password: b", "username is missing");
	then_refused(fixture, "server: h", "as: admin", "act as somebody else");
	then_refused(fixture, "server: h", "auth-provider: {name: gcp}", "use exec");
}

static void a_server_need_not_be_verified_where_the_file_says_so(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_loaded_with(fixture, "server: h, insecure-skip-tls-verify: true",
					  "username: me, password: 'a:b c'"),
			 0);
	assert_true(fixture->config->insecure);
	assert_string_equal(fixture->config->user, "me");
	assert_string_equal(fixture->config->password, "a:b c");
}

static void what_is_missing_is_named(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{"", "line 1: there is nothing in it"},
		{"# nothing\n", "there is nothing in it"},
		{"[]", "it is not a mapping"},
		{"a: [\n", "line 2: "},
		{"kind: Pod\n", "kind is Pod, it must be Config"},
		{"kind: Config\n", "current-context is missing"},
		{"current-context: x\n", "contexts has no \"x\""},
		{"current-context: x\ncontexts: {}\n", "contexts is not a list"},
		{"current-context: x\ncontexts: [{name: x, context: {}}]\n",
		 "context \"x\": cluster is missing"},
		{"current-context: x\ncontexts: [{name: x}]\n",
		 "context \"x\": cluster is missing"},
		{"current-context: x\ncontexts: [{name: x, context: {cluster: y}}]\n",
		 "clusters has no \"y\""},
		{"current-context: x\ncontexts: [{name: x, context: {cluster: y, user: z}}]\n"
		 "clusters: [{name: y, cluster: {server: h}}]\n",
		 "users has no \"z\""},
		{"a: 1\n---\nb: 1\n", "line 3: a second document begins"},
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(when_loaded(fixture, cases[i].text), -EINVAL);
		if (!strstr(fixture->log, cases[i].why) || !strstr(fixture->log, fixture->path))
			fail_msg("\"%s\" is not in: %s", cases[i].why, fixture->log);
	}
}

static void a_file_that_is_not_there_is_named(void **state)
{
	struct fixture *fixture = *state;
	int saved = log_begin(fixture);
	int err = kube_config_load("/nowhere/kubeconfig", &fixture->config);

	log_end(fixture, saved);
	assert_int_equal(err, -ENOENT);
	assert_non_null(strstr(fixture->log, "/nowhere/kubeconfig: No such file"));
}

static void every_truncation_is_survived(void **state)
{
	static const char text[] =
		"current-context: x\ncontexts: [{name: x, context: {cluster: y, user: z}}]\n"
		"clusters: [{name: y, cluster: {server: 'https://h', extensions: [{name: "
		"client.authentication.k8s.io/exec, extension: {a: 1}}]}}]\n"
		"users: [{name: z, user: {exec: {apiVersion: client.authentication.k8s.io/v1, "
		"command: a, args: [b], env: [{name: c, value: d}], provideClusterInfo: true}}}]\n";
	struct fixture *fixture = *state;
	char part[sizeof(text)];

	for (size_t len = 0; len < sizeof(text); len++) {
		memcpy(part, text, len);
		part[len] = '\0';
		(void)when_loaded(fixture, part);
	}
	assert_non_null(fixture->config);
}

static void a_plugin_is_read_with_all_it_needs(void **state)
{
	const struct kube_exec *exec;
	struct fixture *fixture = *state;
	char expected[160];

	assert_int_equal(
		when_loaded_with(
			fixture,
			"server: h, extensions: [{name: client.authentication.k8s.io/exec, "
			"extension: {audience: x}}]",
			"exec: {apiVersion: client.authentication.k8s.io/v1, "
			"command: ./bin/login, args: [get, '-v'], installHint: get it, "
			"interactiveMode: IfAvailable, provideClusterInfo: true, "
			"env: [{name: A, value: b}, {name: C, value: ''}]}"),
		0);
	exec = fixture->config->exec;
	assert_non_null(exec);
	(void)snprintf(expected, sizeof(expected), "%s/./bin/login", fixture->dir);
	assert_string_equal(exec->command, expected);
	assert_string_equal(exec->args[0], "get");
	assert_string_equal(exec->args[1], "-v");
	assert_null(exec->args[2]);
	assert_int_equal(exec->environment_count, 2);
	assert_string_equal(exec->environment[0].name, "A");
	assert_string_equal(exec->environment[0].value, "b");
	assert_string_equal(exec->environment[1].value, "");
	assert_string_equal(exec->api_version, "client.authentication.k8s.io/v1");
	assert_string_equal(exec->install_hint, "get it");
	assert_true(exec->provide_cluster_info);
	assert_string_equal(exec->cluster_config, "{\"audience\":\"x\"}");
}

#define EXEC(more) "exec: {apiVersion: client.authentication.k8s.io/v1beta1, " more "}"

static void a_plugin_that_cannot_work_is_refused(void **state)
{
	struct fixture *fixture = *state;

	then_refused(fixture, "server: h", EXEC("args: []"), "exec.command is missing");
	then_refused(fixture, "server: h", "exec: {command: a}", "exec.apiVersion is missing");
	then_refused(fixture, "server: h",
		     "exec: {command: a, apiVersion: client.authentication.k8s.io/v1alpha1}",
		     "exec.apiVersion is client.authentication.k8s.io/v1alpha1, it must be");
	then_refused(fixture, "server: h", EXEC("command: a, args: [1]"),
		     "exec.args has an element that is not a string");
	then_refused(fixture, "server: h", EXEC("command: a, env: [{value: b}]"),
		     "exec.env[0].name is missing");
	then_refused(fixture, "server: h", EXEC("command: a, interactiveMode: Always"),
		     "exec.interactiveMode is Always");
	then_refused(fixture, "server: 'http://192.0.2.1'", EXEC("command: a"), "use https://");
}

static void a_plugin_is_not_asked_where_there_is_another_credential(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_loaded_with(fixture, "server: h", "token: t, " EXEC("command: a")),
			 0);
	assert_null(fixture->config->exec);
	assert_int_equal(when_loaded_with(fixture, "server: h", EXEC("command: login")), 0);
	assert_string_equal(fixture->config->exec->command, "login");
}

static int when_in_cluster(struct fixture *fixture, const char *host, const char *port)
{
	int saved, err;

	kube_config_free(fixture->config);
	fixture->config = NULL;
	(void)setenv("FAIRLEAD_SERVICE_ACCOUNT_DIR", fixture->dir, 1);
	(void)(host ? setenv("KUBERNETES_SERVICE_HOST", host, 1)
		    : unsetenv("KUBERNETES_SERVICE_HOST"));
	(void)(port ? setenv("KUBERNETES_SERVICE_PORT", port, 1)
		    : unsetenv("KUBERNETES_SERVICE_PORT"));
	saved = log_begin(fixture);
	err = kube_config_in_cluster(&fixture->config);
	log_end(fixture, saved);
	return err;
}

static void given_account_file(const struct fixture *fixture, const char *name, const char *text)
{
	char path[160];

	(void)snprintf(path, sizeof(path), "%s/%s", fixture->dir, name);
	given_file(path, text);
}

static void a_pod_is_given_all_that_is_needed(void **state)
{
	struct fixture *fixture = *state;

	given_account_file(fixture, "token", "abc");
	given_account_file(fixture, "ca.crt", PEM);
	assert_int_equal(when_in_cluster(fixture, "10.96.0.1", "443"), 0);
	assert_string_equal(fixture->config->servers[0], "https://10.96.0.1:443");
	assert_non_null(strstr(fixture->config->token_file, "/token"));
	assert_non_null(strstr(fixture->config->ca_file, "/ca.crt"));
	assert_int_equal(when_in_cluster(fixture, "fd00:10:96::1", "443"), 0);
	assert_string_equal(fixture->config->servers[0], "https://[fd00:10:96::1]:443");
}

static void outside_of_a_pod_the_remedy_is_told(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_in_cluster(fixture, NULL, "443"), -ENOENT);
	assert_non_null(strstr(fixture->log, "KUBERNETES_SERVICE_HOST is not set"));
	assert_non_null(strstr(fixture->log, "--kubeconfig"));
	assert_non_null(strstr(fixture->log, "--server"));
	assert_int_equal(when_in_cluster(fixture, "10.96.0.1", ""), -ENOENT);
	assert_non_null(strstr(fixture->log, "KUBERNETES_SERVICE_PORT is not set"));
	assert_int_equal(when_in_cluster(fixture, "10.96.0.1", "443"), -ENOENT);
	assert_non_null(strstr(fixture->log, "/token cannot be read"));
	given_account_file(fixture, "token", "abc");
	assert_int_equal(when_in_cluster(fixture, "10.96.0.1", "443"), -ENOENT);
	assert_non_null(strstr(fixture->log, "/ca.crt cannot be read"));
}

static int when_servers_set(struct fixture *fixture, const char *first, const char *second)
{
	const char *const servers[] = {first, second};
	int saved = log_begin(fixture);
	int err = kube_config_set_servers(fixture->config, servers, second ? 2 : 1);

	log_end(fixture, saved);
	return err;
}

static void servers_of_the_command_line_take_the_place_of_others(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(when_loaded_with(fixture, "server: h", "token: t"), 0);
	assert_int_equal(when_servers_set(fixture, "https://192.0.2.1:6443/", "192.0.2.2:6443"), 0);
	assert_int_equal(fixture->config->server_count, 2);
	assert_string_equal(fixture->config->servers[0], "https://192.0.2.1:6443");
	assert_string_equal(fixture->config->servers[1], "https://192.0.2.2:6443");

	assert_int_equal(when_servers_set(fixture, "https://192.0.2.3", "ftp://x"), -EINVAL);
	assert_non_null(strstr(fixture->log, "ftp://x is neither https:// nor http://"));
	assert_int_equal(when_servers_set(fixture, "http://192.0.2.3", NULL), -EINVAL);
	assert_int_equal(fixture->config->server_count, 2);
}

static void then_base64(const char *text, const char *expected)
{
	char *bytes = NULL;
	size_t size = 0;
	int err = base64_decode(text, &bytes, &size);

	assert_int_equal(err, expected ? 0 : -EINVAL);
	if (expected) {
		assert_int_equal(size, strlen(expected));
		assert_string_equal(bytes, expected);
	}
	free(bytes);
}

static void base64_is_read_strictly(void **state)
{
	(void)state;
	then_base64("", "");
	then_base64("YQ==", "a");
	then_base64("YWI=", "ab");
	then_base64("YWJj", "abc");
	then_base64("YWJj\r\nZA==\n", "abcd");
	then_base64("+/+/", "\xfb\xff\xbf");
	then_base64("YQ", NULL);
	then_base64("YQ=", NULL);
	then_base64("YQ===", NULL);
	then_base64("YQ==YQ==", NULL);
	then_base64("YR==", NULL);
	then_base64("Y", NULL);
	then_base64("====", NULL);
	then_base64("YW J", NULL);
	then_base64("YW-_", NULL);
}

static void base64_is_read_as_it_was_written(void **state)
{
	char bytes[64];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 37 + 5);
	for (size_t size = 0; size <= sizeof(bytes); size++) {
		char *text = base64_encode(bytes, size);
		char *back = NULL;
		size_t back_size = 0;

		assert_int_equal(base64_decode(text, &back, &back_size), 0);
		assert_int_equal(back_size, size);
		assert_memory_equal(back, bytes, size);
		free(text);
		free(back);
	}
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_current_context_names_the_cluster_and_the_user),
		TEST(json_is_read_as_well),
		TEST(a_server_is_written_in_one_form),
		TEST(what_is_no_server_is_refused),
		TEST(secrets_go_unencrypted_to_this_machine_only),
		TEST(files_are_relative_to_the_kubeconfig),
		TEST(a_kubeconfig_named_without_a_folder_is_in_the_working_directory),
		TEST(data_wins_over_a_file),
		TEST(contradictions_and_wrong_values_are_refused),
		TEST(a_server_need_not_be_verified_where_the_file_says_so),
		TEST(what_is_missing_is_named),
		TEST(a_file_that_is_not_there_is_named),
		TEST(every_truncation_is_survived),
		TEST(a_plugin_is_read_with_all_it_needs),
		TEST(a_plugin_that_cannot_work_is_refused),
		TEST(a_plugin_is_not_asked_where_there_is_another_credential),
		TEST(a_pod_is_given_all_that_is_needed),
		TEST(outside_of_a_pod_the_remedy_is_told),
		TEST(servers_of_the_command_line_take_the_place_of_others),
		cmocka_unit_test(base64_is_read_strictly),
		cmocka_unit_test(base64_is_read_as_it_was_written),
	};

	return cmocka_run_group_tests_name("kube_config", tests, NULL, NULL);
}
