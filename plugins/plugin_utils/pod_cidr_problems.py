# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot work about the address ranges of a cluster."""

from __future__ import annotations

import ipaddress
import typing as t

Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

DEFAULT_MASK = {4: 24, 6: 64}
DEFAULT_PODS = 110
#: The controller manager refuses more bits than this between a pod range and a node's share of it.
MAX_SUBNET_BITS = 16
#: The API server's limit for the bits of a service range, and the least that leaves room for the DNS service (its 10th address).
MAX_SERVICE_BITS = 20
MIN_SERVICE_BITS = 4
#: Addresses of a node's IPv4 range that no pod gets: network, bridge, broadcast.
RESERVED_ADDRESSES = 3
VARIABLE = "kubeadm_cluster_configuration"


class _Wrong(Exception):
    """One problem, as a sentence."""


def pod_cidr_problems(
    configuration: t.Mapping[str, t.Any],
    max_nodes: int,
    max_pods: t.Any = DEFAULT_PODS,
    hosts: t.Mapping[str, str] | None = None,
    host_networks: t.Sequence[str] = (),
    *,
    inventory: int = 0,
) -> list[str]:
    """Sentences naming variable, value and remedy. Pure; never raises for what a user can have written.

    What is of a wrong type is passed over: kubeadm_problems says it.
    """
    networking = configuration.get("networking") or {}
    if not isinstance(networking, t.Mapping):
        return []
    most = _number(max_nodes, 0)
    wished = (most, f"kubeadm_max_nodes is {max_nodes}")
    if int(inventory) > most:
        wished = (int(inventory), f"the inventory has {inventory} (kubeadm_max_nodes is {max_nodes})")
    problems: list[str] = []
    ranges: dict[str, list[Network]] = {}
    for field in ("podSubnet", "serviceSubnet"):
        try:
            ranges[field] = _networks(f"{VARIABLE}.networking.{field}", str(networking.get(field) or ""))
        except _Wrong as problem:
            problems.append(str(problem))
    own: list[tuple[str, Network]] = []
    for text in host_networks or ():
        try:
            own += [("kubeadm_host_networks", network) for network in _networks("kubeadm_host_networks", str(text))]
        except _Wrong as problem:
            problems.append(str(problem))

    for network in ranges.get("podSubnet", []):
        mask, option = _mask(configuration, network.version, dual=len(ranges["podSubnet"]) > 1)
        problems += _capacity(network, mask, option, wished, _number(max_pods, DEFAULT_PODS))
    for network in ranges.get("serviceSubnet", []):
        problems += _service_size(network)

    named = [(f"networking.{field}", network) for field, networks in ranges.items() for network in networks]
    for index, (field, network) in enumerate(named):
        for other, against in named[index + 1 :] + own:
            if network.version == against.version and network.overlaps(t.cast(t.Any, against)):
                problems.append(
                    f"{VARIABLE}.{field} {network} overlaps {other} {against}: packets for one would go to the other. "
                    f"Choose a range that nothing else uses"
                )
        for host, addresses in (hosts or {}).items():
            problems += [
                f"{VARIABLE}.{field} {network} contains {address}, the address of {host}: pods could not reach nodes. "
                "Choose a range that no host is in"
                for address in addresses.split(",")
                if address and _parse(address).version == network.version and _parse(address) in network
            ]
    return problems


def _dictionary(document: t.Mapping[str, t.Any], field: str) -> t.Mapping[str, t.Any]:
    value = document.get(field)
    return value if isinstance(value, t.Mapping) else {}


def _number(wished: t.Any, otherwise: int) -> int:
    try:
        return int(wished)
    except (TypeError, ValueError):  # null, or what argument specs and kubeadm_problems refuse
        return otherwise


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(address.strip())


def _networks(variable: str, text: str) -> list[Network]:
    """One range, or one of each family."""
    networks: list[Network] = []
    for part in text.split(","):
        try:
            networks.append(ipaddress.ip_network(part.strip()))
        except ValueError as error:
            raise _Wrong(f"{variable} {text!r} is not a network in CIDR notation such as 10.244.0.0/16 ({error})") from None
    if len({network.version for network in networks}) != len(networks):
        raise _Wrong(f"{variable} {text!r} has several ranges of one family; at most one IPv4 and one IPv6 range go together")
    return networks


def _mask(configuration: t.Mapping[str, t.Any], version: int, dual: bool) -> tuple[int, str]:
    """(bits of a node's prefix, the controller manager's option that sets it)."""
    option = f"node-cidr-mask-size-ipv{version}" if dual else "node-cidr-mask-size"
    arguments = _dictionary(configuration, "controllerManager").get("extraArgs")
    wanted: list[t.Any] = [
        argument.get("value")
        for argument in (arguments if isinstance(arguments, (list, tuple)) else ())
        if isinstance(argument, t.Mapping) and argument.get("name") == option
    ]
    try:
        return int(wanted[-1]) if wanted else DEFAULT_MASK[version], option
    except (TypeError, ValueError):
        return -1, f"{option} {wanted[-1]!r}"


def _capacity(network: Network, mask: int, option: str, wished: tuple[int, str], max_pods: int) -> list[str]:
    what = f"{VARIABLE}.networking.podSubnet {network}"
    if not network.prefixlen <= mask <= network.max_prefixlen:
        return [f"{what} cannot be split into ranges of /{mask} a node ({option}): choose a mask from /{network.prefixlen} on"]
    bits = mask - network.prefixlen
    if bits > MAX_SUBNET_BITS:
        return [
            f"{what} with /{mask} a node ({option}) has {bits} bits for nodes, the controller manager takes at most "
            f"{MAX_SUBNET_BITS}: use a range from /{mask - MAX_SUBNET_BITS} on, or larger ranges a node"
        ]
    problems = []
    nodes, why = wished
    if 2**bits < nodes:
        needed = (nodes - 1).bit_length()
        problems.append(
            f"{what} has room for {2**bits} nodes with /{mask} a node ({option}), {why}: a range of "
            f"/{mask - needed} has room for {2**needed}. It cannot be changed in a running cluster"
        )
    pods = 2 ** (network.max_prefixlen - mask) - (RESERVED_ADDRESSES if network.version == 4 else 0)
    if pods < max_pods:
        problems.append(
            f"{what} with /{mask} a node ({option}) gives a node {max(pods, 0)} pod addresses, maxPods of "
            f"kubeadm_kubelet_configuration is {max_pods}: use larger ranges a node, or set maxPods to at most {max(pods, 0)}"
        )
    return problems


def _service_size(network: Network) -> list[str]:
    bits = network.max_prefixlen - network.prefixlen
    if MIN_SERVICE_BITS <= bits <= MAX_SERVICE_BITS:
        return []
    return [
        f"{VARIABLE}.networking.serviceSubnet {network} is too {'large' if bits > MAX_SERVICE_BITS else 'small'}: "
        f"from /{network.max_prefixlen - MAX_SERVICE_BITS} to /{network.max_prefixlen - MIN_SERVICE_BITS} will do"
    ]
