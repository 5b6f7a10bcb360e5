# SPDX-License-Identifier: BSD-2-Clause
"""How the server behaves; client.Methods.set describes each setting."""

import dataclasses


@dataclasses.dataclass
class Settings:
    slice_versions: list = dataclasses.field(default_factory=lambda: ["v1"])
    servicecidrs: bool = True
    streaming_lists: str = "on"
    bookmark_seconds: float = 60
    watch_seconds: float = 1800
    gone: str = "event"
    gzip_over: int = 128 * 1024
    future_seconds: float = 0.1
    ready: bool = True
    version: str = "v1.20.2"

    ALLOWED = {"streaming_lists": ("on", "invalid", "ignored"), "gone": ("event", "status")}

    def change(self, settings):
        names = {field.name for field in dataclasses.fields(self)}
        for name, value in settings.items():
            if name not in names:
                raise ValueError(f'there is no setting "{name}"; there are: {", ".join(sorted(names))}')
            if value not in self.ALLOWED.get(name, (value,)):
                raise ValueError(f"{name} is one of {', '.join(self.ALLOWED[name])}, not {value!r}")
            setattr(self, name, value)

    def has(self, resource, version):
        """Whether this resource exists in this version now."""
        if resource.name == "endpointslices":
            return version in self.slice_versions
        if resource.name == "servicecidrs":
            return self.servicecidrs and version == "v1"
        return version in resource.versions
