"""Clusters whose servers get another port or TLS, and what must hold meanwhile."""

import json

from reconciler.drivers.collab.cluster_state import is_balanced, list_serving
from reconciler.drivers.collab.guards import GUARDS
from reconciler.drivers.collab.machine import finish_waiting
from support.collab_runs import Site, make_config, make_entry, make_input, make_site

CONFIG = json.loads(make_config())
TLS = {"enableTls": True, "privateKeyFile": "/k", "publicCertFile": "/c"}


def moved(count, *, port=None, tls=None, **entry):
    """The desired state of `count` servers with another port, and with or without TLS."""
    names = [f"c{number}" for number in range(1, count + 1)]
    config = CONFIG | (TLS | {"enableTls": tls} if tls is not None else {}) | ({"port": port} if port else {})
    value = make_entry(names, **entry)
    value["nodes"] = [node | ({"port": port} if port else {}) for node in value["nodes"]]
    return make_input(value, config)


def settled(count, **entry):
    names = tuple(f"c{number}" for number in range(1, count + 1))
    site = Site(make_site(count), make_input(make_entry(names, **entry), CONFIG))
    assert site.converge().steps == ()
    return site


def list_reached(site):
    state = site.world.state
    return [number for number in list_serving(state) if is_balanced(state, number)]


class Watch:
    """After every step somebody is served, and each run's plan passes the guards."""

    def __init__(self, site, least=1):
        self.site, self.least = site, least

    def __call__(self, step=None):
        assert len(list_reached(self.site)) >= self.least, step and step.id


def check_guards(site):
    observed = site.observe()
    plan = site.driver.plan(site.desired, observed)
    context = site.context(plan, observed)
    for guard in GUARDS[:5]:
        assert list(guard(context)) == [], [step.id for step in plan.steps]


def converge(site, passes=12):
    for _ in range(passes):
        check_guards(site)
        if not site.plan().steps:
            return site.plan()
        site.run()
        site.world.state = finish_waiting(site.world.state)
    raise AssertionError([step.id for step in site.plan().steps])


CHANGES = [{"port": 3001}, {"tls": True}, {"port": 3443, "tls": True}]
