#pragma once

#include <functional>
#include <string>
#include <vector>

#include "driver/qemu_features.h"
#include "driver/transport_choice.h"
#include "netstack/base/fd.h"

namespace driver {

// How a guest is plugged into a LAN, as QEMU needs to hear it.
struct Attachment {
  Transport transport = Transport::kStream;
  std::string netdev;                   // the value of -netdev, without its id and chardev
  std::string chardev;                  // the value of -chardev, without its id; empty: none
  std::vector<netstack::Fd> inherited;  // descriptors these name by number; QEMU must get them
};

struct PrivatePlug {
  // Non-blocking. stream: connected, and becomes a port of the LAN. vhost-user: listens, and what
  // it accepts becomes one.
  netstack::Fd ours;
  Attachment guest;
};

// A plug into a LAN of our own, by vhost-user or stream. There is no directory: the two ends exist
// as descriptors only, so nothing is left behind, even by SIGKILL. Throws netstack::Error.
PrivatePlug plug_privately(Transport transport = Transport::kStream);

// What stands in the directory now. A socket whose path is longer than a UNIX socket's 107 bytes
// does not count.
LanSockets lan_sockets(const std::string& directory);

// A plug into the LAN at `directory`. stream: connected here. vhost-user: QEMU connects, and again
// whenever the LAN has been restarted; that someone listens is tried first. Throws netstack::Error:
// no LAN there, or a path that is too long.
Attachment plug_into_lan(const std::string& directory, Transport transport,
                         const QemuFeatures& qemu);

// The same in words only: QEMU connects to the paths, and nothing is tried or opened.
Attachment name_plug(const std::string& directory, Transport transport, const QemuFeatures& qemu);

}  // namespace driver
