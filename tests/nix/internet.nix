# A machine with DHCP pings the Internet. Whether that can work depends on the host: Nix's sandbox
# has no network, `--option sandbox false` gives it the machine's. The test looks which of the two
# it has, and holds the network to the right answer: replies, or "Destination Net Unreachable" from
# the gateway at once.
#
# ours = false: through QEMU's user network, which every NixOS test has as eth0; Lanyard is only the
#               switch of the driver's VLANs.
# ours = true:  through Lanyard's gateway, plugged into VLAN 1; the machine has no other network.
{ ours }:
{ lib, ... }:
{
  name = if ours then "lanyard-gateway" else "lanyard-internet";
  globalTimeout = 600;

  nodes.machine = {
    networking.useDHCP = true;
  }
  // lib.optionalAttrs ours {
    virtualisation.interfaces.eth1.vlan = 1;
    virtualisation.qemu.networkingOptions = lib.mkForce [ ];
  };

  testScript = ''
    import socket
    import subprocess

    # Our switch runs in the driver's VLANs.
    version = subprocess.run(["vde_switch", "--version"], capture_output=True, text=True).stdout
    assert "Lanyard" in version, f"the driver's vde_switch is another: {version}"


    def host_has_route(address: str) -> bool:
        """Connecting a UDP socket asks the routing table, and sends nothing."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((address, 9))
            except OSError:
                return False
        return True


    def check_internet(address: str) -> None:
        start_all()
        machine.wait_for_unit("multi-user.target")
        machine.wait_until_succeeds("ip -4 route show default | grep -F 'via 10.0.2.2'")
        machine.succeed("ping -c 1 10.0.2.2")
        if host_has_route(address):
            machine.succeed(f"ping -c 3 {address}")
        else:
            output = machine.fail(f"ping -c 3 {address} 2>&1")
            wanted = "From 10.0.2.2 icmp_seq=1 Destination Net Unreachable"
            assert wanted in output, f"no '{wanted}' in: {output}"

  ''
  + (
    if ours then
      ''

        import tempfile

        with tempfile.TemporaryFile("w+") as said:
            words = ["slirpvde", "--sock", str(vlan1.socket_dir), "--dhcp"]
            gateway = subprocess.Popen(words, stderr=said)
            try:
                check_internet("8.8.8.8")
            finally:
                gateway.terminate()
                gateway.wait()
                said.seek(0)
                lines = said.read()
                log.info(f"slirpvde: {lines}")
            # The reason is the host's, and in the log.
            assert host_has_route("8.8.8.8") or "8.8.8.8" in lines, "the gateway gave no reason"
      ''
    else
      ''

        check_internet("8.8.8.8")
      ''
  );
}
