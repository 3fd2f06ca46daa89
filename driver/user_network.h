#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "driver/option_list.h"

namespace driver {

// What the options of a user network (-netdev user,…) ask for, with QEMU's defaults and its
// arithmetic. Addresses are IPv4, in host byte order.
struct UserNetwork {
  uint32_t network = 0x0a000200;  // 10.0.2.0
  unsigned prefix_bits = 24;
  uint32_t gateway = 0x0a000202;
  uint32_t nameserver = 0x0a000203;  // may be outside the network
  uint32_t first_lease = 0x0a00020f;
  bool own_numbers = false;  // one of the above was given
  bool ipv4 = true;
  bool ipv6 = true;
  bool restricted = false;
  // PROTOCOL:HOST_ADDRESS:PORT-[GUEST_ADDRESS]:PORT, protocol and host address always there: QEMU
  // listens on every address when none is given. Or unix:PATH-[GUEST_ADDRESS]:PORT.
  std::vector<std::string> forwards;
  std::vector<std::string> guest_forwards;  // as given: [tcp]:ADDRESS:PORT-TARGET
  std::string refusal;  // not empty: only QEMU can make this network, and this is why

  static UserNetwork read(const OptionList& options);
};

}  // namespace driver
