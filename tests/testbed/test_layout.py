"""Names and addresses."""

import fnmatch
from ipaddress import IPv4Network
from itertools import combinations

import pytest

from testbed.errors import BedError
from testbed.layout import NODE_GROUPS, SLOTS, ClusterDir, Slot


def test_no_two_slots_share_addresses_ports_or_names() -> None:
    slots = [Slot(number) for number in SLOTS]
    networks = [network for slot in slots for network in machine_networks(slot)]
    assert not any(one.overlaps(other) for one, other in combinations(networks, 2))
    assert len({slot.first_port for slot in slots}) == len({slot.bridge for slot in slots}) == len(SLOTS)


def machine_networks(slot: Slot) -> list[IPv4Network]:
    links = [IPv4Network((slot.node_address(number), 30), strict=False) for number in (1, 2, 254)]
    return [*links, *(slot.pods(number) for number in (1, 2, 254)), IPv4Network(slot.api_address)]


def test_link_names_fit_into_the_kernels_fifteen_characters() -> None:
    assert len(Slot(9).node_group(254)) <= 15


def test_every_node_group_is_recognised_by_its_name() -> None:
    names = [Slot(slot).node_group(node) for slot in SLOTS for node in (1, 254)]
    assert fnmatch.filter(names, NODE_GROUPS) == names


def test_ports_are_below_the_ephemeral_range() -> None:
    """Another program's outgoing connection would take one of them while its daemon is down."""
    assert all(Slot(number).first_port + 100 < 32768 for number in SLOTS)


@pytest.mark.parametrize("name", ["", "Demo", "a_b", "../x", "-a", "a" * 33])
def test_a_cluster_name_that_could_not_be_a_folder_and_a_context_is_refused(name: str) -> None:
    with pytest.raises(BedError, match="is not valid"):
        ClusterDir(name)
