// A split ring holds the device's index; a packed one does not, and a front end that lost its back
// end without a word cannot know it: QEMU says what it was told when the ring last stopped, often
// laps ago. But the ring shows it. With our position p in a lap with wrap counter w, and the
// driver's position d, a slot looks like
//
//   slots            d behind p in the same lap        d has begun the next lap
//   given back, w    [0, p)                            [d, p)
//   available, w     [p, d)                            [p, end)
//   given back, !w   [d, end): the lap before          none
//   available, !w    none                              [0, d)
//
// "Given back" is seen in a chain's first slot only (both bits equal); the others keep what the
// driver wrote. So: the first such mark from slot 0 on tells the lap, the last one of that lap is
// the chain given back last, and behind it lies p. How long that chain was, its mark says, since
// we leave NEXT set in it, which drivers ignore (virtio 1.2 §2.8.6). A slot of zeros was never
// used. Without a mark the ring is full, and p is where one lap's chains end and the next one's
// begin.
//
// The front end's word counts where the ring leaves room for it, that is when the slots between are
// the rest of the chain given back last: another back end has not left NEXT, or the driver has
// overwritten the mark and not yet the rest. That last case, which takes a driver without indirect
// tables and a ring that is all but full, is the one where a wrong word cannot be told from a right
// one; a front end that keeps a record (in_flight.h) gives a right one.
//
// Refused: to keep the position in a file of ours, which would have to name the guest and to be
// thrown away at the right time.
#include "netstack/virtio/packed_position.h"

#include <cstddef>
#include <optional>

#include "netstack/virtio/ring_layout.h"

namespace netstack {
namespace {

constexpr uint16_t kWrapBit = 0x8000;
constexpr int kLooks_count = 4;  // until two say the same: the driver may be at work

struct Place {
  uint32_t slot;
  bool wrap;
  bool operator==(const Place&) const = default;
};

struct Slot {
  uint64_t address;
  uint64_t rest;

  uint16_t id() const { return static_cast<uint16_t>(rest >> 32U); }
  bool has(uint16_t flag) const { return (rest >> 48U & flag) != 0; }
  bool avail() const { return has(kDescriptorAvail); }
  bool more() const { return has(kDescriptorNext); }
  bool never_used() const { return address == 0 && rest == 0; }
  bool given_back() const { return avail() == has(kDescriptorUsed) && !never_used(); }
};

class Look {
 public:
  explicit Look(const RingSetup& setup) : setup_(setup) {
    for (uint32_t at = 0; at < setup.count; ++at) see(at);
  }

  Place place() const {
    if (last_) return end_of_last();
    if (!full_) return {0, true};
    const bool wrap = slot(0).avail();
    for (uint32_t at = 1; at < setup_.count; ++at) {
      if (slot(at).avail() != wrap) return {at, !wrap};
    }
    return {0, wrap};
  }

  // From `from` up to `to` there is the rest of one chain, of the one given back last if it is
  // known.
  bool is_rest_of_chain(Place from, Place to) const {
    if (!last_ && !full_) return false;
    const uint16_t id = slot(last_ ? *last_ : from.slot).id();
    bool more = true;
    for (uint32_t steps = 0; steps < setup_.count && from != to; ++steps) {
      const Slot here = slot(from.slot);
      if (!more || here.given_back() || here.never_used() || here.id() != id) return false;
      more = here.more();
      from = after(from);
    }
    return from == to && !more;
  }

 private:
  Slot slot(uint32_t at) const {
    const uint8_t* entry = setup_.descriptors.at + sizeof(PackedDescriptor) * at;
    return {read_once<uint64_t>(entry), read_once<uint64_t>(entry + 8)};
  }
  Place after(Place place) const {
    return place.slot + 1 < setup_.count ? Place{place.slot + 1, place.wrap}
                                         : Place{0, !place.wrap};
  }
  void see(uint32_t at) {
    const Slot here = slot(at);
    if (here.never_used()) full_ = false;
    if (!here.given_back() || lap_over_) return;
    if (last_ && here.avail() != lap_wrap_) {
      lap_over_ = true;
      return;
    }
    lap_wrap_ = here.avail();
    last_ = at;
  }
  Place end_of_last() const {
    Place place{*last_, lap_wrap_};
    for (uint32_t steps = 1; steps < setup_.count && slot(place.slot).more(); ++steps) {
      place = after(place);
    }
    return after(place);
  }

  const RingSetup& setup_;
  std::optional<uint32_t> last_;  // the mark of the chain given back last
  bool lap_wrap_ = true;
  bool lap_over_ = false;
  bool full_ = true;
};

}  // namespace

uint16_t find_packed_position(const RingSetup& setup, uint16_t said) {
  Place found{};
  bool said_fits = false;
  const Place given{static_cast<uint32_t>(said & ~kWrapBit), (said & kWrapBit) != 0};
  for (int looks = 0; looks < kLooks_count; ++looks) {
    const Look look(setup);
    const Place place = look.place();
    const bool again = looks > 0 && place == found;
    found = place;
    said_fits = look.is_rest_of_chain(found, given);
    if (again) break;
  }
  if (said_fits) return said;
  return static_cast<uint16_t>(found.slot | (found.wrap ? kWrapBit : 0U));
}

}  // namespace netstack
