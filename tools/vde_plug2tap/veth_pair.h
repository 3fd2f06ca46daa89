#pragma once

#include <string>

#include "netstack/base/fd.h"

namespace tools {

// Two interfaces joined by a wire, one with a name for others to use, one for our packet socket.
//
//   bridge, routes, addresses ◄─► `outer` ═══ `inner` ◄─► PacketPort
//
// The inner end is up and as deaf as an interface can be made: it answers no ARP and takes no IPv6
// address, so the machine does not speak on it. The outer end is down, as a new tap is. Both are
// removed with this object, and when its process is killed; the kernel removes them with their
// network namespace too.
//
// To remove them takes a capability, which this process gives away once it is set up. So a child of
// its own keeps that, does nothing else, and ends with its work.
class VethPair {
 public:
  // Throws Error: no CAP_NET_ADMIN, the name is taken, no veth in this kernel.
  explicit VethPair(const std::string& outer);
  ~VethPair();
  VethPair(const VethPair&) = delete;
  VethPair& operator=(const VethPair&) = delete;

  const std::string& inner() const { return inner_; }

 private:
  void find_inner(const std::string& outer);
  void silence_inner() const;
  void remove() const;
  void start_remover();
  [[noreturn]] void be_remover(int told_by) const;

  unsigned outer_index_ = 0;
  unsigned inner_index_ = 0;
  std::string inner_;
  netstack::Fd remover_;  // closed: the child removes the pair, and then hangs up
};

}  // namespace tools
