#pragma once

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstdlib>

#include "netstack/port/vnet_header.h"
#include "tests/unit/port_fixture.h"
#include "tests/unit/private_network.h"

// Interfaces in a namespace of the test's own, and raw sockets to watch them with.

inline void enter_quiet_network() {
  static const bool done = [] {
    tests::enter_private_network();
    // New interfaces would greet IPv6 routers, in between what a test sends.
    tests::write_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    return true;
  }();
  static_cast<void>(done);
}

// Runs iproute2's ip; a failure ends the test program.
inline void ip(const std::string& words) {
  if (std::system(("ip " + words).c_str()) != 0) {
    fmt::print(stderr, "`ip {}` failed\n", words);
    std::abort();
  }
}

// What is sent through an interface that was just set up gets lost, until a thread of the kernel
// has opened the way.
inline void await_way(const std::string& interface) {
  const std::string open = "ip -o link show " + interface + " | grep -q 'state UP'";
  for (int tries = 0; std::system(open.c_str()) != 0; ++tries) {
    if (tries == 1000) std::abort();
    ::usleep(10'000);
  }
}

// The far end of an interface, as another program would hold it: raw frames with virtio-net headers
// in and out.
class RawLink {
 public:
  explicit RawLink(const std::string& interface)
      : socket_(::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    const int yes = 1;
    ::setsockopt(socket_.get(), SOL_PACKET, PACKET_VNET_HDR, &yes, sizeof yes);
    ::setsockopt(socket_.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes);
    const int buffer_size = 4 << 20;
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &buffer_size, sizeof buffer_size);
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = static_cast<int>(::if_nametoindex(interface.c_str()));
    if (::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      std::abort();
    }
  }

  bool send(const Bytes& frame, netstack::VnetHeaderWire header = {}) {
    Bytes bytes(sizeof header + frame.size());
    std::memcpy(bytes.data(), &header, sizeof header);
    std::memcpy(bytes.data() + sizeof header, frame.data(), frame.size());
    return ::send(socket_.get(), bytes.data(), bytes.size(), 0) ==
           static_cast<ssize_t>(bytes.size());
  }
  Bytes receive() {  // empty: nothing there
    Bytes bytes(sizeof(netstack::VnetHeaderWire) + 70'000);
    const ssize_t got = ::recv(socket_.get(), bytes.data(), bytes.size(), 0);
    if (got < 0) return {};
    return {bytes.begin() + sizeof(netstack::VnetHeaderWire), bytes.begin() + got};
  }
  // Until nothing has come for a while: a busy kernel hands frames over later, from a thread.
  std::vector<Bytes> receive_all() {
    std::vector<Bytes> frames;
    pollfd ready{socket_.get(), POLLIN, 0};
    while (::poll(&ready, 1, kQuiet_ms) > 0) {
      Bytes frame = receive();
      if (frame.empty()) break;
      frames.push_back(std::move(frame));
    }
    return frames;
  }

 private:
  static constexpr int kQuiet_ms = 200;

  netstack::Fd socket_;
};
