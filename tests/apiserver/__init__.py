# SPDX-License-Identifier: BSD-2-Clause
"""A small Kubernetes API server for tests: `ApiServerProcess` (a process) and `ApiServer` (a thread)."""

from .client import ApiServer, ApiServerProcess, Certificates

__all__ = ["ApiServer", "ApiServerProcess", "Certificates"]
