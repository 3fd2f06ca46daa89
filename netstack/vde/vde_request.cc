#include "netstack/vde/vde_request.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace netstack {
namespace {

std::string printable(std::span<const uint8_t> text) {
  std::string out;
  for (const uint8_t byte : text) {
    if (byte == 0) break;
    out += byte >= 0x20 && byte <= 0x7e ? static_cast<char>(byte) : '?';
  }
  return out;
}

std::string wrong_client(const VdeRequestWire& wire) {
  if (wire.family != AF_UNIX) {
    return fmt::format("its socket has address family {}, not AF_UNIX", wire.family);
  }
  if (std::find(wire.path.begin(), wire.path.end(), '\0') == wire.path.end()) {
    return "the path of its socket has no end";
  }
  // An unnamed or abstract socket has no file whose permissions say who may use it.
  if (wire.path[0] != '/') return "its socket has no absolute path";
  return {};
}

}  // namespace

std::variant<VdeRequest, std::string> parse_vde_request(std::span<const uint8_t> bytes) {
  VdeRequestWire wire;
  if (bytes.size() < sizeof wire) {
    return fmt::format("a request of {} bytes where {} are needed", bytes.size(), sizeof wire);
  }
  std::memcpy(&wire, bytes.data(), sizeof wire);
  const uint32_t magic = wire.magic;
  const uint32_t version = wire.version;
  const uint32_t type = wire.type & 0xffU;
  if (magic != kVdeMagic)
    return fmt::format("a request that starts {:08x}, not {:08x}", magic, kVdeMagic);
  if (version != kVdeVersion) {
    return fmt::format("protocol version {} where {} is spoken; use a newer libvdeplug", version,
                       kVdeVersion);
  }
  if (type > kVdeTypeManagement) return fmt::format("request type {} is unknown", type);
  if (std::string wrong = wrong_client(wire); !wrong.empty()) return wrong;

  VdeRequest request;
  request.management = type == kVdeTypeManagement;
  request.port_number = wire.type >> 8U;
  request.client.sun_family = AF_UNIX;
  std::memcpy(request.client.sun_path, wire.path.data(), wire.path.size());
  request.description = printable(bytes.subspan(sizeof wire));
  return request;
}

}  // namespace netstack
