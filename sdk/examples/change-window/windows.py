"""When the windows are open. Nothing here knows of WASM."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

# Steps in which the moment is looked for when the clock on the wall jumps: no zone's rules know less than a minute any more.
STEP = timedelta(minutes=1)


@dataclass(frozen=True)
class Window:
    """Hours of some days, by the clock on the wall."""

    begins: time
    ends: time
    days: tuple[str, ...] = ()

    def begins_on(self, day: date) -> bool:
        return not self.days or DAYS[day.weekday()] in self.days

    def contains(self, wall: datetime) -> bool:
        today, now = wall.date(), wall.time()
        if self.begins < self.ends:
            return self.begins_on(today) and self.begins <= now < self.ends
        yesterday = today - timedelta(days=1)
        return (self.begins_on(today) and self.begins <= now) or (self.begins_on(yesterday) and now < self.ends)

    def opening(self, day: date, zone: ZoneInfo) -> datetime | None:
        """The moment at which it opens on that day. None if the clock jumps over all of it."""
        wall = datetime.combine(day, self.begins, zone)
        # Two, where the clock is put back; and around the jump, where it is put forward.
        first, last = sorted(wall.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
        while first <= last:
            if self.contains(first.astimezone(zone)):
                return first
            first += STEP
        return None


def is_open(windows: list[Window], zone: ZoneInfo, now: datetime) -> bool:
    """Whether one of them is open."""
    return any(window.contains(now.astimezone(zone)) for window in windows)


def next_opening(windows: list[Window], zone: ZoneInfo, now: datetime) -> datetime | None:
    """The first moment after now at which one of them opens, within a bit more than a week."""
    today = now.astimezone(zone).date()
    days = [today + timedelta(days=ahead) for ahead in range(9)]
    openings = (window.opening(day, zone) for window in windows for day in days if window.begins_on(day))
    return min((opening for opening in openings if opening and opening > now), default=None)
