# Two nodes with an 802.1Q interface each, VLAN 42 on top of eth1. The driver starts its switch as a
# hub, since VDE's drops tags otherwise; ours carries them either way, so the hub is switched off by
# console before the ping.
let
  node = address: {
    networking = {
      useDHCP = false;
      vlans.vlan42 = {
        id = 42;
        interface = "eth1";
      };
      interfaces.vlan42.ipv4.addresses = [
        {
          inherit address;
          prefixLength = 24;
        }
      ];
    };
  };
in
{
  name = "lanyard-vlan";
  globalTimeout = 600;

  nodes.left = node "10.42.0.1";
  nodes.right = node "10.42.0.2";

  testScript = ''
    import subprocess


    def console(command: str) -> str:
        """One command on the console of VLAN 1's switch, where the driver itself asked showinfo."""
        commands, replies = vlan1.process.stdin, vlan1.process.stdout
        assert commands is not None and replies is not None
        commands.write(command + "\n")
        commands.flush()
        text = ""
        while True:
            line = replies.readline()
            assert line, f"the switch ended at '{command}' after: {text}"
            text += line
            # 1000 is success, 1001 to 1999 say what is wrong.
            if line[:1] == "1" and line[1:4].isdigit():
                assert line.startswith("1000 "), f"'{command}' was refused: {text}"
                return text


    version = subprocess.run(["vde_switch", "--version"], capture_output=True, text=True).stdout
    assert "Lanyard" in version, f"the driver's vde_switch is another: {version}"

    console("port/sethub 0")
    start_all()
    left.wait_for_unit("multi-user.target")
    right.wait_for_unit("multi-user.target")

    with subtest("tagged frames cross the switch"):
        left.wait_until_succeeds("ping -c 1 10.42.0.2", timeout=60)
        right.succeed("ping -c 1 10.42.0.1")

    with subtest("also the longest: 1500 bytes of IPv4 behind a tag"):
        left.succeed("ping -c 3 -M do -s 1472 10.42.0.2")
  '';
}
