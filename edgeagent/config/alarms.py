# SPDX-License-Identifier: AGPL-3.0-or-later
"""What raises an alarm: `pipelines[].alarms`, the rules of a pipeline, and `alarms`, those of the system itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from edgeagent.core.alarms.alarm import Severity
from edgeagent.core.alarms.rules import Clip, Confirmed, Rule
from edgeagent.core.alarms.system import SYSTEM_RULES, SystemLimits
from edgeagent.core.model import check_name
from edgeagent.errors import UsageError
from edgeagent.util.settings import Fraction, Polygon, Seconds, Section

MAX_RULES = 64
"""Of one pipeline: each looks at each frame."""
_MAX_TEXT = 300
Delay = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=_MAX_TEXT)]
ClassName = Annotated[str, Field(min_length=1, max_length=128)]


def _rule_name(name: str) -> str:
    try:
        check_name("name", name)
    except UsageError as e:
        raise ValueError(f"{name!r} is not a valid name; allowed: {e.todo.removeprefix('use ')}") from e
    if name in SYSTEM_RULES:
        raise ValueError(f"{name!r} is the name of an alarm of the system itself; allowed: any other name")
    return name


class ConfirmedConfig(Section):
    """On how many frames something must be seen, until it counts as seen.

    at_least: so many. of: out of the last so many.
    """

    of: int = Field(default=1, ge=1, le=1000)
    at_least: int = Field(default=1, ge=1, le=1000)

    @field_validator("at_least")
    @classmethod
    def _possible(cls, at_least: int, info: ValidationInfo) -> int:
        of = info.data.get("of", 1000)
        if at_least > of:
            raise ValueError(f"{at_least} of {of} frames can't be; allowed: up to {of}, or a larger of")
        return at_least


class ClipConfig(Section):
    """What is kept of an alarm.

    before, after: seconds before and after it was raised. fps: pictures a second.
    """

    before: float = Field(default=5.0, ge=0, le=60, allow_inf_nan=False)
    after: float = Field(default=5.0, ge=0, le=60, allow_inf_nan=False)
    fps: float = Field(default=5.0, ge=0.2, le=15, allow_inf_nan=False)


class RuleConfig(Section):
    """One rule; what the fields mean is said at `core.alarms.rules.Rule`. classes: none for any."""

    name: Annotated[str, AfterValidator(_rule_name)]
    when: Literal["present", "count", "absent"] = "present"
    classes: list[ClassName] = Field(default=[], max_length=64)
    confidence: Fraction = 0.0
    region: Polygon | None = None
    min_size: Fraction = 0.0
    frames: ConfirmedConfig = ConfirmedConfig()
    objects: int = Field(default=1, ge=1, le=10_000)
    within_seconds: Seconds | None = Field(default=None, validate_default=True)
    absent_seconds: Seconds | None = Field(default=None, validate_default=True)
    on_delay_seconds: Delay = 0.0
    off_delay_seconds: float = Field(default=2.0, ge=1, le=86_400, allow_inf_nan=False)
    cool_down_seconds: Delay = 60.0
    severity: Severity = "warning"
    text: Text = ""
    todo: Text = ""
    clip: ClipConfig | None = None

    @field_validator("within_seconds")
    @classmethod
    def _of_count(cls, seconds: float | None, info: ValidationInfo) -> float | None:
        return _belongs_to("count", seconds, info)

    @field_validator("absent_seconds")
    @classmethod
    def _of_absent(cls, seconds: float | None, info: ValidationInfo) -> float | None:
        return _belongs_to("absent", seconds, info)

    def rule(self) -> Rule:
        """The same, for whoever decides."""
        c = self.clip
        return Rule(
            name=self.name,
            when=self.when,
            classes=tuple(self.classes),
            confidence=self.confidence,
            region=self.region,
            min_size=self.min_size,
            confirmed=Confirmed(self.frames.at_least, self.frames.of),
            objects=self.objects,
            within_s=self.within_seconds or Rule.within_s,
            absent_s=self.absent_seconds or Rule.absent_s,
            on_delay_s=self.on_delay_seconds,
            off_delay_s=self.off_delay_seconds,
            cool_down_s=self.cool_down_seconds,
            severity=self.severity,
            text=self.text,
            todo=self.todo,
            clip=Clip(c.before, c.after, c.fps) if c else None,
        )


def _belongs_to(when: str, seconds: float | None, info: ValidationInfo) -> float | None:
    given = info.data.get("when")
    if given == when and seconds is None:
        raise ValueError(f"is missing; allowed: seconds, with when: {when}")
    if given is not None and given != when and seconds is not None:
        raise ValueError(f"has no meaning with when: {given}; allowed: with when: {when}")
    return seconds


class SystemAlarmConfig(Section):
    """An alarm of the system itself.

    enabled: whether it is ever raised. severity: how bad it is. after_seconds: how long its cause must last until it is
    raised.
    """

    enabled: bool = True
    severity: Severity = "warning"
    after_seconds: Delay = 0.0


class DroppedConfig(SystemAlarmConfig):
    """share: of the frames of a pipeline that get no result. over_seconds: over which that is counted."""

    share: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = SystemLimits.dropped_share
    over_seconds: Annotated[float, Field(ge=5, le=3600, allow_inf_nan=False)] = SystemLimits.dropped_over_s


class DiskConfig(SystemAlarmConfig):
    """min_free_bytes: of the disk of node.state_dir."""

    min_free_bytes: int = Field(default=SystemLimits.min_free_bytes, ge=0, le=1 << 50)


class ClipsConfig(Section):
    """Pictures and clips of alarms, below node.state_dir: the oldest go first.

    max_bytes: of all of them. max_age_seconds: of each. min_free_bytes: that must stay free on the disk. max_width:
    pixels that a picture is scaled down to.
    """

    max_bytes: int = Field(default=500_000_000, ge=0, le=1 << 50)
    max_age_seconds: float = Field(default=604_800.0, gt=0, le=31_536_000, allow_inf_nan=False)
    min_free_bytes: int = Field(default=500_000_000, ge=0, le=1 << 50)
    max_width: int = Field(default=960, ge=160, le=3840)


def _with_defaults(name: str) -> BeforeValidator:
    """What isn't said of an alarm of the system is as in SYSTEM_RULES."""
    rule = SYSTEM_RULES[name]
    defaults = {"severity": rule.severity, "after_seconds": rule.after_s}
    return BeforeValidator(lambda given: {**defaults, **given} if isinstance(given, dict) else given)


def _default() -> Any:
    return Field(default={}, validate_default=True)


class AlarmsConfig(Section):
    """Alarms of the system itself, each with the name that it is raised under; docs/alarms.md says what they mean.

    cool_down_seconds: one that comes again so soon after it cleared is the same alarm. shelve_max_minutes: how long one
    may be shelved. keep: alarms that are over, and are remembered.
    """

    camera_lost: Annotated[SystemAlarmConfig, _with_defaults("camera_lost")] = _default()
    camera_frozen: Annotated[SystemAlarmConfig, _with_defaults("camera_frozen")] = _default()
    frames_dropped: Annotated[DroppedConfig, _with_defaults("frames_dropped")] = _default()
    engine_restarting: Annotated[SystemAlarmConfig, _with_defaults("engine_restarting")] = _default()
    version_refused: Annotated[SystemAlarmConfig, _with_defaults("version_refused")] = _default()
    version_rolled_back: Annotated[SystemAlarmConfig, _with_defaults("version_rolled_back")] = _default()
    disk: Annotated[DiskConfig, _with_defaults("disk")] = _default()
    config_store: Annotated[SystemAlarmConfig, _with_defaults("config_store")] = _default()
    api: Annotated[SystemAlarmConfig, _with_defaults("api")] = _default()
    sink: Annotated[SystemAlarmConfig, _with_defaults("sink")] = _default()
    rollout_orphaned: Annotated[SystemAlarmConfig, _with_defaults("rollout_orphaned")] = _default()
    rule_unusable: Annotated[SystemAlarmConfig, _with_defaults("rule_unusable")] = _default()
    cool_down_seconds: Delay = 60.0
    shelve_max_minutes: int = Field(default=1440, ge=1, le=10_080)
    keep: int = Field(default=200, ge=0, le=2000)
    clips: ClipsConfig = ClipsConfig()

    def limits(self) -> SystemLimits:
        """The same, for whoever decides."""
        given: dict[str, SystemAlarmConfig] = {name: getattr(self, name) for name in SYSTEM_RULES}
        return SystemLimits(
            {
                name: replace(
                    rule,
                    enabled=given[name].enabled,
                    severity=given[name].severity,
                    after_s=given[name].after_seconds,
                )
                for name, rule in SYSTEM_RULES.items()
            },
            self.frames_dropped.share,
            self.frames_dropped.over_seconds,
            self.disk.min_free_bytes,
        )


def no_clash(rules: list[RuleConfig]) -> list[RuleConfig]:
    """The rules of a pipeline. Raises ValueError where two have one name."""
    names = [rule.name for rule in rules]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{twice[0]!r} is the name of two rules; allowed: each name once in a pipeline")
    return rules
