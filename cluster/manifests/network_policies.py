"""Who may talk to whom, computed from NetworkPolicies as the network computes it, and drawn.

A connection needs both sides: the caller's policies let it out, and those of the called let it in.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from cluster.manifests.bundle import Bundle, Manifest, ManifestFinding, Pod, Values, selector_matches
from cluster.manifests.references import list_services, port_number, select_pods

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
ANY_PORT = "all"


@dataclass(frozen=True)
class Party:
    """An end of a connection: pods of ours by their component, or everything of another namespace or network."""

    name: str
    namespace: str
    labels: tuple[tuple[str, str], ...] = ()
    is_outside: bool = False


@dataclass(frozen=True)
class Path:
    """An allowed connection; `port` is a number or `all`."""

    caller: str
    called: str
    port: str


def check_default_deny(bundle: Bundle) -> Iterator[ManifestFinding]:
    """Where nothing selects a pod everything is allowed: each namespace begins with a policy that denies."""
    for namespace in sorted({pod.namespace for pod in bundle.pods}):
        for side in ("Ingress", "Egress"):
            if not any(_denies(one, side) for one in bundle.of("NetworkPolicy") if one.namespace == namespace):
                yield ManifestFinding("deny", f"Namespace/{namespace}", f"no NetworkPolicy denies all {side}.")


def check_services_reached(bundle: Bundle) -> Iterator[ManifestFinding]:
    """Every Service has callers, other than its own pods, that are let in on its ports."""
    for service in list_services(bundle):
        for target in service.ports.values():
            for pod in service.pods:
                port = port_number(pod, target)
                if not any(_lets_in(policy, pod, port) for policy in bundle.of("NetworkPolicy")):
                    yield ManifestFinding(
                        "service", service.owner, f"no NetworkPolicy lets anybody in to {service.name} {port}."
                    )


def check_both_sides(bundle: Bundle) -> Iterator[ManifestFinding]:
    """What one side allows between pods of ours, the other allows too."""
    for policy in bundle.of("NetworkPolicy"):
        for side in ("ingress", "egress"):
            for rule in policy.spec.get(side) or []:
                for pod in select_pods(bundle, policy.namespace, policy.spec.get("podSelector")):
                    yield from _one_sided(bundle, policy, side, rule, pod)


def connection_paths(bundle: Bundle) -> list[Path]:
    """Every allowed connection that has a pod of ours at one end, each once and in order."""
    parties = _parties(bundle)
    paths = {
        Path(caller.name, called.name, port)
        for caller in parties for called in parties if not (caller.is_outside and called.is_outside)
        for port in _allowed(bundle, caller, called)
    }  # fmt: skip
    return sorted(paths, key=lambda path: (path.called, path.caller, path.port.zfill(5)))


def network_diagram(bundle: Bundle) -> str:
    """The paths between groups of pods as a diagram; what a group has inside and the look-up of names are left out."""
    groups: dict[str, str] = {}
    for pod in bundle.pods:  # several objects may have pods with the same part to play, such as the schedules
        name, group = _party(pod).name, f"{pod.owner.kind} {pod.owner.name}"
        groups[name] = group if groups.get(name, group) == group else name
    arrows: dict[tuple[str, str], set[str]] = {}
    for path in connection_paths(bundle):
        caller, called = groups.get(path.caller, path.caller), groups.get(path.called, path.called)
        if caller != called and path.port != "53":
            arrows.setdefault((caller, called), set()).add(path.port)
    nodes = {name: f"n{index}" for index, name in enumerate(sorted({name for pair in arrows for name in pair}))}
    lines = [f'  {node}["{name}"]' for name, node in nodes.items()]
    for (caller, called), ports in sorted(arrows.items()):
        shown = ", ".join(sorted(ports, key=lambda port: port.zfill(5)))
        lines.append(f"  {nodes[caller]} -->|{shown}| {nodes[called]}")
    return "\n".join(["graph LR", *lines])


def _parties(bundle: Bundle) -> list[Party]:
    pods = {_party(pod) for pod in bundle.pods}
    outside = {
        _peer_party(policy, peer) for policy in bundle.of("NetworkPolicy") for peer in _peers(policy)
        if _is_outside(bundle, policy, peer)
    }  # fmt: skip
    return sorted(pods | outside, key=lambda party: (party.namespace, party.name))


def _party(pod: Pod) -> Party:
    return Party(_part_name(pod), pod.namespace, tuple(sorted(pod.labels.items())))


def _part_name(pod: Pod) -> str:
    component = pod.labels.get("app.kubernetes.io/component", pod.owner.name)
    return f"milvus {component}" if pod.owner.kind == "Milvus" else component


def _peers(policy: Manifest) -> Iterator[Values]:
    for side, key in (("ingress", "from"), ("egress", "to")):
        for rule in policy.spec.get(side) or []:
            yield from rule.get(key) or []


def _is_outside(bundle: Bundle, policy: Manifest, peer: Values) -> bool:
    if "ipBlock" in peer:
        return True
    namespace = _namespace_of(policy, peer)
    own = {pod.namespace for pod in bundle.pods}
    return namespace not in own or not select_pods(bundle, namespace, peer.get("podSelector"))


def _peer_party(policy: Manifest, peer: Values) -> Party:
    if "ipBlock" in peer:
        return Party("outside", "", is_outside=True)
    labels = (peer.get("podSelector") or {}).get("matchLabels") or {}
    space = _namespace_of(policy, peer)
    name = (
        "pods with " + ", ".join(f"{key}={value}" for key, value in labels.items()) if labels else f"namespace {space}"
    )
    return Party(name, space, tuple(sorted(labels.items())), is_outside=True)


def _namespace_of(policy: Manifest, peer: Values) -> str:
    chosen = (peer.get("namespaceSelector") or {}).get("matchLabels") or {}
    return str(chosen.get(NAMESPACE_LABEL, policy.namespace))


def _allowed(bundle: Bundle, caller: Party, called: Party) -> set[str]:
    """Ports that both sides allow."""
    out = {ANY_PORT} if caller.is_outside else _ports(bundle, caller, called, "egress")
    into = {ANY_PORT} if called.is_outside else _ports(bundle, called, caller, "ingress")
    if ANY_PORT in out:
        return into
    return out if ANY_PORT in into else out & into


def _ports(bundle: Bundle, selected: Party, other: Party, side: str) -> set[str]:
    """Ports that the policies of the selected end allow with the other one."""
    ports: set[str] = set()
    for policy in bundle.of("NetworkPolicy"):
        if policy.namespace != selected.namespace:
            continue
        if not selector_matches(policy.spec.get("podSelector"), dict(selected.labels)):
            continue
        for rule in policy.spec.get(side) or []:
            peers = rule.get("from" if side == "ingress" else "to")
            if peers is None or any(_is(policy, peer, other) for peer in peers):
                ports |= _rule_ports(rule)
    return ports


def _is(policy: Manifest, peer: Values, party: Party) -> bool:
    if "ipBlock" in peer or not party.namespace:
        return "ipBlock" in peer and not party.namespace
    return party.namespace == _namespace_of(policy, peer) and selector_matches(
        peer.get("podSelector"), dict(party.labels)
    )


def _rule_ports(rule: Values) -> set[str]:
    return {str(port["port"]) for port in rule.get("ports") or []} or {ANY_PORT}


def _denies(policy: Manifest, side: str) -> bool:
    spec = policy.spec
    return not spec.get("podSelector") and side in spec.get("policyTypes", []) and not spec.get(side.lower())


def _lets_in(policy: Manifest, pod: Pod, port: int | None) -> bool:
    if policy.namespace != pod.namespace or not selector_matches(policy.spec.get("podSelector"), pod.labels):
        return False
    return any(
        _from_others(policy, rule, pod) and _rule_ports(rule) & {ANY_PORT, str(port)}
        for rule in policy.spec.get("ingress") or []
    )


def _from_others(policy: Manifest, rule: Values, pod: Pod) -> bool:
    """Whether somebody else than pods like this one is named: those that belong together are no callers."""
    return any(not _is(policy, peer, _party(pod)) for peer in rule.get("from") or [])


def _one_sided(bundle: Bundle, policy: Manifest, side: str, rule: Values, pod: Pod) -> Iterator[ManifestFinding]:
    other_side = "egress" if side == "ingress" else "ingress"
    own = _party(pod)
    for peer in rule.get("from" if side == "ingress" else "to") or []:
        if _is_outside(bundle, policy, peer) or not (peer.get("podSelector") or peer.get("namespaceSelector")):
            continue
        others = select_pods(bundle, _namespace_of(policy, peer), peer.get("podSelector"))
        open_ports = set().union(*(_ports(bundle, _party(one), own, other_side) for one in others))
        for port in _rule_ports(rule):
            if not open_ports & {ANY_PORT, port}:
                says = "lets in" if side == "ingress" else "lets out to"
                names = ", ".join(sorted({_part_name(one) for one in others}))
                yield ManifestFinding("path", str(policy), f"it {says} {names} on {port}, and that side does not.")
