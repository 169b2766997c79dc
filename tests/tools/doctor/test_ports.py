import socket

from tools.doctor.facts import Listener
from tools.doctor.ports import is_loopback, judge_listeners, listeners

HEAD = Listener("gcs_server", "0.0.0.0", 6379, True)
INSIDE = Listener("python", "127.0.0.1", 41000, True)


def test_ports_without_a_token_are_open_to_anyone():
    found = judge_listeners((HEAD, INSIDE, Listener("raylet", "::", 3001, False)))
    assert found.level == "warning" and "anyone" in found.saw and "raylet 3001" in found.saw
    assert "6379" not in found.saw


def test_ports_with_a_token_and_those_of_this_machine_are_listed():
    found = judge_listeners((HEAD, Listener("gcs_server", "::", 6380, True), INSIDE))
    assert found.level == "ok" and "gcs_server 6379 6380" in found.saw and "this machine alone: 1" in found.saw
    assert judge_listeners((INSIDE,)).saw == "1 ports, on this machine alone"
    assert judge_listeners(()).saw == "Ray is not running here"


def test_only_the_ports_of_ray_are_looked_at():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert server.getsockname()[1] not in {listener.port for listener in listeners()}


def test_addresses_of_this_machine():
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1")))
