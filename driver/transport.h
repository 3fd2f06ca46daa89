#pragma once

#include <string>
#include <vector>

#include "netstack/base/fd.h"

namespace driver {

// How a guest is plugged into a LAN, as QEMU needs to hear it. This is the one place that knows:
// another transport is another function here, and nothing else changes.
struct Attachment {
  std::string netdev;                   // the value of -netdev, without its id
  std::vector<netstack::Fd> inherited;  // descriptors `netdev` names by number; QEMU must get them
};

struct PrivatePlug {
  netstack::Fd ours;  // non-blocking; becomes a stream port of the LAN
  Attachment guest;
};

// A plug into a LAN of our own. There is no directory: the two ends exist as descriptors only, so
// nothing can be left behind, even by SIGKILL. Throws netstack::Error.
PrivatePlug plug_privately();

// A plug into the LAN at `directory` (`lanyard switch`). Throws netstack::Error: no LAN there, or a
// path longer than a UNIX socket's 107 bytes.
Attachment plug_into_lan(const std::string& directory);

}  // namespace driver
