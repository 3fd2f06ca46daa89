#include "netstack/wire/target.h"

#include "netstack/base/check.h"

namespace netstack {

std::string_view protocol_name(Protocol protocol) {
  switch (protocol) {
    case Protocol::kIcmpEcho:
      return "icmp echo";
    case Protocol::kUdp:
      return "udp";
    case Protocol::kTcp:
      return "tcp";
    case Protocol::kOther:
      return "protocol";
  }
  check(false, "a protocol has a name");
  return {};
}

}  // namespace netstack
