"""Tokens of nodes under any order of enrolment, rotation, use, renaming, backups and lost keys, as laws."""

import asyncio
import shutil
import tempfile
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.offers import NOON, make_draft

from reconciler.core.actor import Actor
from reconciler.core.fleet_matching import FleetIdentity
from reconciler.core.offers import OfferFeed
from reconciler.core.secret import reveal
from reconciler.ports.node_store import CallRecord
from reconciler.store.factory import back_up_store, open_store, restore_store

CLUSTERS, NODES = ("c", "d"), ("a", "b")
MEMORY = Path("/dev/shm")
"""Where no disk is waited for."""
clusters = st.sampled_from(CLUSTERS)
members = st.sampled_from([{"a"}, {"a", "b"}, set()])
nodes = st.sampled_from(["a", "a", "b"])


def digest(token):
    return sha256(token.encode()).hexdigest()


class Tokens(RuleBasedStateMachine):
    """A host whose nodes use the tokens that they were given."""

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.now = NOON
        self.members = {cluster: set() for cluster in CLUSTERS}
        self.held = {}  # (cluster, node) -> the token that the node itself has
        self.given = {}  # (cluster, node) -> its tokens, the newest last
        self.open()

    def open(self):
        self.host = open_store(self.folder / "state", clock=self.tick)
        self.store = self.do(self.host.enter_fleet(FleetIdentity("/srv", name="x")))

    def tick(self):
        self.now += timedelta(seconds=1)
        return self.now

    def do(self, call):
        return asyncio.run(call)

    def tokens(self, cluster):
        found = self.do(self.store.tokens(cluster, NODES))
        return {node: reveal(one.current) for node, one in found.items()}

    def known(self):
        return {one.digest: one for one in self.do(self.store.read_changes(0)).tokens}

    @rule(cluster=clusters, nodes=members)
    def enrol(self, cluster, nodes):
        before = self.tokens(cluster)
        self.do(self.store.store_facts(cluster, {"": {"kind": "m2"}}))
        self.do(self.store.enrol(cluster, "m2", sorted(nodes)))
        self.members[cluster] = set(nodes)
        after = self.tokens(cluster)
        assert {node: after[node] for node in nodes} == {node: before[node] for node in nodes}

    @rule(cluster=clusters, node=nodes, delivered=st.booleans())
    def rotate(self, cluster, node, delivered):
        if node in self.members[cluster]:
            before = self.tokens(cluster)[node]
            self.do(self.store.rotate(cluster, node, Actor()))
            assert self.tokens(cluster)[node] != before
            if delivered:
                self.deliver(cluster, node)

    @rule(cluster=clusters, node=nodes)
    def deliver(self, cluster, node):
        """The node gets its current token, by an offer."""
        if node in self.members[cluster]:
            self.held[cluster, node] = self.tokens(cluster)[node]
            self.do(self.store.offer(make_draft(node, cluster=cluster), "r", "v"))

    @rule(cluster=clusters, node=nodes)
    def use(self, cluster, node):
        token = self.held.get((cluster, node))
        if token is not None and node in self.members[cluster]:
            call = CallRecord(
                fleet=1, cluster="?", node="?", at=self.tick(), feed=OfferFeed.SETTING, token=digest(token)
            )
            before = self.tokens(cluster)[node]
            self.do(self.store.record_calls([call]))
            after = self.tokens(cluster)[node]
            order = self.given[cluster, node]
            assert after in {before, token}
            assert order.index(after) >= order.index(before), "an older one is never current again"
            assert (self.do(self.store.mail(cluster, [node])))[node].heard is not None

    @rule(former=clusters, name=clusters)
    def rename(self, former, name):
        if former == name or not self.members[former] or self.members[name]:
            return
        self.do(self.store.rename_cluster(former, name, Actor()))
        for node in NODES:
            self.held.pop((name, node), None)
            if (former, node) in self.held:
                self.held[name, node] = self.held.pop((former, node))
            self.given[name, node] = self.given.pop((former, node))
        self.members[name], self.members[former] = self.members[former], set()

    @rule()
    def reopen(self):
        self.host.close()
        self.open()

    @rule(cluster=clusters, node=nodes, rotations=st.integers(0, 3))
    def restore(self, cluster, node, rotations):
        """A disk is lost, and a backup from before some rotations is restored."""
        back_up_store(self.folder / "state", self.folder / "backup")
        for _ in range(rotations):
            self.rotate(cluster, node, delivered=True)
            self.note_tokens()
        self.host.close()
        restore_store(self.folder / "state", self.folder / "backup", prepare=lambda _: None, clock=self.tick)
        (self.folder / "backup").unlink()
        self.open()
        for one, own in self.members.items():
            self.do(self.store.enrol(one, "m2", sorted(own)))

    @invariant()
    def note_tokens(self):
        for cluster in CLUSTERS:
            for node, token in self.tokens(cluster).items():
                order = self.given.setdefault((cluster, node), [])
                if token not in order:
                    order.append(token)

    @invariant()
    def every_member_has_one_current_token_that_counts(self):
        known = self.known()
        for cluster, nodes in self.members.items():
            for node, token in self.tokens(cluster).items():
                if node not in nodes:
                    continue
                one = known[digest(token)]
                assert (one.cluster, one.node, one.is_current, one.ended) == (cluster, node, True, None)

    @invariant()
    def no_node_is_locked_out(self):
        known = self.known()
        for (cluster, node), token in self.held.items():
            if node in self.members[cluster]:
                one = known[digest(token)]
                assert (one.cluster, one.node, one.ended) == (cluster, node, None)

    @invariant()
    def who_is_no_member_has_no_token_that_counts(self):
        for one in self.known().values():
            if one.node not in self.members[one.cluster]:
                assert one.ended is not None

    @invariant()
    def no_two_nodes_get_the_same_token(self):
        every = [token for cluster in CLUSTERS for token in self.tokens(cluster).values()]
        assert len(set(every)) == len(every)

    def teardown(self):
        self.host.close()
        shutil.rmtree(self.folder)


Tokens.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestTokens = Tokens.TestCase
