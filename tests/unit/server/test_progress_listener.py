"""A soak is long and without events: the heartbeat must allow for it."""

from reconciler.server.progress_listener import OBSERVE_SECONDS, WatchListener


class Noted(dict):
    def note(self, cluster, **what):
        self[cluster] = what


class Lines(list):
    def info(self, words, **fields):
        self.append((words, fields))


def test_a_soak_extends_the_heartbeat_and_is_logged():
    watch_state, log, alive = Noted(), Lines(), []
    WatchListener("edge", watch_state, None, log, alive.append).on_soaking("edge", 2, 7200)
    assert alive == [7200 + OBSERVE_SECONDS]
    assert watch_state == {"edge": {"doing": "wave 2 soaks for 7200 s"}}
    assert log == [("soak started", {"wave": 2, "seconds": 7200})]
