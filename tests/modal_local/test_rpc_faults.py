"""Which RPCs a fault of the control plane hits."""

from grpclib import Status

from tests.modal_local import RpcFault


def test_a_fault_hits_the_named_ones_as_often_as_asked() -> None:
    fault = RpcFault(("QueueGet",), count=2)
    assert [fault.hits(name) for name in ("QueueGet", "QueuePut", "QueueGet", "QueueGet")] == [True, False, True, False]
    assert fault.hit == 2 and fault.status is Status.UNAVAILABLE


def test_a_fault_of_all_spares_heartbeats_and_can_be_switched() -> None:
    fault = RpcFault()
    assert fault.hits("FunctionMap") and not fault.hits("AppHeartbeat") and not fault.hits("ContainerHeartbeat")
    fault.on = False
    assert not fault.hits("FunctionMap")


def test_a_share_is_the_same_for_a_seed() -> None:
    first, second = RpcFault(share=0.3, seed=5), RpcFault(share=0.3, seed=5)
    hits = [first.hits("QueueGet") for _ in range(200)]
    assert hits == [second.hits("QueueGet") for _ in range(200)] and 30 < sum(hits) < 90
