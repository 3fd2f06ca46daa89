#pragma once

#include <sys/un.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <variant>

namespace netstack {

// VDE ctl protocol, version 3, as libvdeplug 2.3 and 4 speak it: what a client sends first on the
// stream socket DIR/ctl. Host byte order, no padding; 0 to 127 bytes of description follow.
struct [[gnu::packed]] VdeRequestWire {
  uint32_t magic;
  uint32_t version;
  uint32_t type;  // low 8 bits: 0 = a port, 1 = the management port; above: port number, 0 = any
  uint16_t family;
  std::array<char, 108> path;  // the client's datagram socket
};
static_assert(sizeof(VdeRequestWire) == 122);

// The switch's answer: the address of its own datagram socket, as raw bytes.
using VdeReplyWire = sockaddr_un;
static_assert(sizeof(VdeReplyWire) == 110);

constexpr uint32_t kVdeMagic = 0xfeedface;
constexpr uint32_t kVdeVersion = 3;
constexpr uint32_t kVdeTypeManagement = 1;   // 0 is a port, what is above nobody has defined
constexpr size_t kVdeRequestMax_size = 256;  // one read of this size takes a request

struct VdeRequest {
  bool management = false;   // asked for the management port, "port 0"
  uint32_t port_number = 0;  // asked for; 0 = any
  sockaddr_un client{};      // absolute path, NUL-terminated
  std::string description;   // printable ASCII, other bytes replaced by '?'
};

// The request, or a sentence on what is wrong with it.
std::variant<VdeRequest, std::string> parse_vde_request(std::span<const uint8_t> bytes);

}  // namespace netstack
