#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "netstack/loop/loop.h"
#include "netstack/port/port_host.h"
#include "netstack/vde/vde_port.h"

namespace netstack {

constexpr uint64_t kVdeAnswer_ms = 10'000;  // a switch answers at once or, stock ones, never

// Where a switch is, as users of VDE write it: "DIR", "DIR[5]" for port 5 of it, "vde://DIR"; also
// the path of its ctl socket. "" is the first of $HOME/.vde2/default.switch, /var/run/vde.ctl and
// /tmp/vde.ctl that there is.
struct VdeLocator {
  std::string ctl;                      // the socket to connect to
  std::string directory;                // its directory, absolute: our data socket goes there
  std::optional<uint32_t> port_number;  // 0: the management port, which hears little; none: any

  static VdeLocator parse(std::string_view text);  // throws Error (EX_USAGE, EX_UNAVAILABLE)
};

// What a client asks for and how it names itself.
struct VdePlugWish {
  VdeLocator where;
  std::string description;  // for the switch's listings; cut at kVdeDescriptionMax_size
  mode_t mode = 0700;       // of our data socket while the switch connects to it, then of its own
  std::optional<gid_t> group;  // of our data socket
  uint64_t answer_ms_max = kVdeAnswer_ms;
  int give_up_fd = -1;  // when this becomes readable, the wait is over; borrowed
};
constexpr size_t kVdeDescriptionMax_size = 127;

// Plugs into a running switch, stock or ours: the client's side of the handshake. Waits for the
// switch, at most answer_ms_max at each step and until give_up_fd. Throws Error (EX_UNAVAILABLE).
VdePlug plug_into_vde(const VdePlugWish& wish);

// The same as a port, which ends when the switch does.
std::unique_ptr<VdePort> open_vde_plug(Loop& loop, PortHost& host, const VdePlugWish& wish);

// "vde_plug2tap user=LOGIN pid=N", as libvdeplug describes its users.
std::string describe_vde_client(std::string_view program);

}  // namespace netstack
