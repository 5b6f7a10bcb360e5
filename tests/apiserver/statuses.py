# SPDX-License-Identifier: BSD-2-Clause
"""What the API server says when something is wrong, word for word as recorded."""

import json

from .store import dump

TEXT = ("Content-Type", "text/plain; charset=utf-8")
NO_SNIFFING = ("X-Content-Type-Options", "nosniff")
GONE_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new "
    "list without the continue parameter, or use the continue token in this response to retrieve the "
    "remainder of the results. Continuing with the provided token results in an inconsistent list - objects "
    "that were created, modified, or deleted between the time the first chunk was returned and now may show "
    "up in the list.")
GONE_LIST = "The resourceVersion for the provided list is too old."
ETCD_STUCK = "rpc error: code = Unavailable desc = transport is closing"
NO_SUCH_RESOURCE = "the server could not find the requested resource"
STARTING = """\
[+]ping ok
[+]log ok
[+]etcd ok
[+]informer-sync ok
[+]poststarthook/start-kube-apiserver-admission-initializer ok
[+]poststarthook/generic-apiserver-start-informers ok
[+]poststarthook/priority-and-fairness-config-consumer ok
[+]poststarthook/priority-and-fairness-filter ok
[+]poststarthook/start-apiextensions-informers ok
[-]poststarthook/start-apiextensions-controllers failed: reason withheld
[-]poststarthook/crd-informer-synced failed: reason withheld
[-]poststarthook/bootstrap-controller failed: reason withheld
[-]poststarthook/rbac/bootstrap-roles failed: reason withheld
[-]poststarthook/scheduling/bootstrap-system-priority-classes failed: reason withheld
[+]poststarthook/priority-and-fairness-config-producer ok
[+]poststarthook/start-cluster-authentication-info-controller ok
[+]poststarthook/start-kube-aggregator-informers ok
[-]poststarthook/apiservice-registration-controller failed: reason withheld
[+]poststarthook/apiservice-status-available-controller ok
[+]poststarthook/kube-apiserver-autoregistration ok
[+]autoregister-completion ok
[+]poststarthook/apiservice-openapi-controller ok
[+]shutdown ok
"""


class Answer:
    """A whole answer: status, headers besides the ever same ones, body (bytes)."""

    def __init__(self, status, body, *headers):
        self.status, self.body, self.headers = status, body, dict(headers)
        self.headers.setdefault("Content-Type", "application/json")


class Refused(Exception):
    """Ends a request with an answer."""

    def __init__(self, answer):
        super().__init__(answer.status)
        self.answer = answer


def status_dict(code, message, reason=None, details=None, metadata=None):
    status = {"kind": "Status", "apiVersion": "v1", "metadata": metadata or {}, "status": "Failure",
              "message": message}
    if reason:
        status["reason"] = reason
    if details is not None:
        status["details"] = details
    return status | {"code": code}


def failure(code, message, reason=None, *headers, details=None, metadata=None):
    return Answer(code, dump(status_dict(code, message, reason, details, metadata)) + b"\n", *headers)


def details_of(resource, name=None):
    details = {"name": name, "group": resource.group, "kind": resource.name}
    return {field: value for field, value in details.items() if value}


def unauthorized():
    return failure(401, "Unauthorized", "Unauthorized")


def forbidden(user, verb, resource, namespace=None, name=None):
    """`resource` may be one that we do not have, as (name, group)."""
    kind, group = (resource.name, resource.group) if hasattr(resource, "kind") else resource
    scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    what = f"{kind}.{group}" if group else kind
    what += f' "{name}"' if name else ""
    details = {"name": name, "group": group, "kind": kind}
    return failure(
        403, f'{what} is forbidden: User "{user}" cannot {verb} resource "{kind}" '
             f'in API group "{group}" {scope}',
        "Forbidden", NO_SNIFFING, details={field: value for field, value in details.items() if value})


def forbidden_path(user, path):
    return failure(403, f'forbidden: User "{user}" cannot get path "{path}"', "Forbidden", NO_SNIFFING,
                   details={})


def no_such_resource():
    return failure(404, NO_SUCH_RESOURCE, "NotFound", details={})


def no_such_object(resource, name):
    return failure(404, f'{resource.qualified} "{name}" not found', "NotFound",
                   details=details_of(resource, name))


def exists_already(resource, name):
    return failure(409, f'{resource.qualified} "{name}" already exists', "AlreadyExists",
                   details=details_of(resource, name))


def conflict(resource, name):
    return failure(409, f'Operation cannot be fulfilled on {resource.qualified} "{name}": the object has been '
                        "modified; please apply your changes to the latest version and try again", "Conflict",
                   details=details_of(resource, name))


def success(resource, stored):
    """The Status of a deletion."""
    details = details_of(resource, stored.name) | {"uid": stored.dict()["metadata"]["uid"]}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def not_acceptable():
    status = status_dict(406, "406: Not Acceptable", "NotAcceptable", {})
    return Answer(406, json.dumps(status, indent=2).encode())


def bad_request(message):
    return failure(400, message, "BadRequest")


def bad_version(text):
    return failure(500, f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": '
                        "invalid syntax")


def list_gone():
    return failure(410, GONE_LIST, "Expired")


def page_gone(token):
    return failure(410, GONE_CONTINUE, "Expired", metadata={"continue": token})


def watch_gone(version, floor):
    """The Status of an ERROR event, or of the answer, when a watch begins too far in the past."""
    return status_dict(410, f"too old resource version: {version} ({floor})", "Expired")


def version_of_the_future(version, current):
    details = {"causes": [{"reason": "ResourceVersionTooLarge",
                           "message": "Too large resource version"}], "retryAfterSeconds": 1}
    return failure(504, f"Timeout: Too large resource version: {version}, current: {current}", "Timeout",
                   ("Retry-After", "1"), details=details)


def invalid_options(causes):
    """`causes`: what is wrong with the query, as (field, text)."""
    texts = [f"{field}: Forbidden: {text}" for field, text in causes]
    together = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = {"group": "meta.k8s.io", "kind": "ListOptions", "causes": [
        {"reason": "FieldValueForbidden", "message": f"Forbidden: {text}", "field": field}
        for field, text in causes]}
    return failure(422, f'ListOptions.meta.k8s.io "" is invalid: {together}', "Invalid", details=details)


def too_many_requests():
    return Answer(429, b"Too many requests, please try again later.\n", TEXT, NO_SNIFFING,
                  ("Retry-After", "1"))


def etcd_stuck():
    return failure(500, ETCD_STUCK)


def health(check, ready):
    if ready:
        return Answer(200, b"ok", TEXT, NO_SNIFFING)
    return Answer(500, f"{STARTING}{check} check failed\n".encode(), TEXT, NO_SNIFFING)
