#pragma once

#include <list>
#include <memory>
#include <optional>
#include <string>

#include "netstack/port/acceptor.h"
#include "netstack/port/lan_directory.h"
#include "netstack/port/port_host.h"
#include "netstack/vde/vde_port.h"
#include "netstack/vde/vde_request.h"

namespace netstack {

constexpr size_t kPendingHandshakes_count = 64;
constexpr uint64_t kHandshake_ns = 10 * kSecond_ns;

struct VdeModes {
  mode_t ctl = 0600;              // who may attach
  mode_t data = 0600;             // of each plug's data socket; the client sets its own afterwards
  std::optional<gid_t> group;     // of both; empty: as the system makes it
  mode_t management_data = 0600;  // the same for plugs of the management port
  std::optional<gid_t> management_group;
};

// DIR/ctl: stock VDE clients (libvdeplug 2.3 and 4, QEMU `-netdev vde,sock=DIR`) attach here, each
// becoming a VdePort named "vde N DESCRIPTION", counted from 1 and never reused (which port number
// it gets is the host's to say). The file means ready, so make this the last of a LAN's listeners.
class VdeListener {
 public:
  // Throws Error when it cannot listen. `directory` outlives this; the ports belong to `host` and
  // may outlive this, not the directory.
  VdeListener(Loop& loop, PortHost& host, Log& log, const LanDirectory& directory,
              VdeModes modes = {});
  ~VdeListener();

 private:
  // A client that has connected and not yet said what it wants.
  struct Handshake {
    std::unique_ptr<WatchedFd> ctl;
    Loop::TimerId deadline = 0;
  };
  using Handshakes = std::list<Handshake>;  // oldest first

  void begin(Fd ctl);
  void on_request(Handshakes::iterator handshake);
  Fd end(Handshakes::iterator handshake);
  void answer(Fd ctl, std::span<const uint8_t> bytes);
  void plug_in(Fd ctl, const VdeRequest& request);
  std::string open_data(const VdeRequest& request, const PlugRequest& wanted, uint64_t name_number,
                        VdePlug& plug);
  void give_to_client(const std::string& path, const PlugRequest& wanted, mode_t mode);
  void turn_away(std::string_view why);

  Loop& loop_;
  PortHost& host_;
  LogThrottle log_;
  const LanDirectory& directory_;
  VdeModes modes_;
  std::shared_ptr<DatagramBurst> burst_;
  uint64_t number_ = 0;
  Handshakes handshakes_;
  Acceptor acceptor_;
};

}  // namespace netstack
