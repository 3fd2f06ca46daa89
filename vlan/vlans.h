#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "netstack/frame/frame.h"
#include "netstack/frame/port.h"
#include "vlan/fdb.h"

namespace vlan {

constexpr int kVidMin = 1;     // that can be created
constexpr int kVidMax = 4094;  // IEEE 802.1Q-2018 table 9-2: 4095 is reserved
constexpr int kNoVid = 4095;   // as a PVID: the port takes no untagged frames

// Which ports are members of which VLAN, with VDE's rules and words: VLAN 0 always exists, and a
// new port is its untagged member. A port is an untagged member of one VLAN at most, its PVID, and
// a tagged member of any others.
//
// Until begin() a switch is transparent: it neither reads nor changes tags and filters nothing.
// Every call that changes something begins. One that fails, or finds everything as it asks for,
// changes nothing: a slip of the pen in a script must not cost a LAN its tagged frames.
//
// Changes return 0 or an errno, in this order: EINVAL, a number is out of range; ENXIO, no such
// VLAN or no such port; then what each call says. Between bursts only.
class Vlans {
 public:
  Vlans(Fdb& fdb, uint32_t port_count_max);  // borrows the table, to forget stations in it

  bool active() const { return active_; }
  void begin();  // by itself: for a switch that is to filter before anything is configured

  int create(int vid);  // 1 to 4094. EEXIST: it exists
  int remove(int vid);  // EADDRINUSE: it has members, or is VLAN 0
  // The port leaves its former PVID and becomes an untagged member of this one, also where it was a
  // tagged member before. kNoVid: of none.
  int set_pvid(netstack::PortId port, int vid);
  int add_tagged(int vid, netstack::PortId port);     // a member already, of either kind: 0
  int remove_tagged(int vid, netstack::PortId port);  // no member: 0. EADDRINUSE: it is the PVID

  bool exists(int vid) const;
  int pvid(netstack::PortId port) const;  // kNoVid: none, or no such port
  bool tagged(int vid, netstack::PortId port) const;

  // In ascending order; nothing when there is no such VLAN.
  std::span<const netstack::PortId> untagged_ports(int vid) const;
  std::span<const netstack::PortId> tagged_ports(int vid) const;
  template <class Visit>
  void for_each(Visit&& visit) const {  // visit(int vid), ascending
    for (int vid = 0; vid <= kVidMax; ++vid) {
      if (exists(vid)) visit(vid);
    }
  }

  // --- for the switch ---
  void join(netstack::PortId port);
  void leave(netstack::PortId port);
  // The VLAN this frame belongs to when it comes in at this port. Empty: the port is no member.
  std::optional<uint16_t> classify(netstack::PortId ingress, const netstack::Frame& frame) const;

 private:
  struct Vlan {
    std::vector<netstack::PortId> untagged;  // sorted, as are the tagged
    std::vector<netstack::PortId> tagged;
  };
  struct Member {
    bool attached = false;
    uint16_t pvid = kNoVid;
  };

  int find_errno(int vid, netstack::PortId port) const;
  Vlan* find(int vid) const;
  void leave_pvid(netstack::PortId port);

  Fdb& fdb_;
  bool active_ = false;
  std::vector<std::unique_ptr<Vlan>> vlans_;  // by VID; null where none is
  std::vector<Member> members_;               // by port
};

}  // namespace vlan
