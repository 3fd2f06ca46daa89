#include "netstack/virtio/chain.h"

#include "netstack/virtio/ring_layout.h"

namespace netstack {
namespace {

constexpr size_t kDescriptor_size = sizeof(SplitDescriptor);
static_assert(sizeof(PackedDescriptor) == kDescriptor_size);

// An indirect table is not longer than its queue (virtio 1.2 §2.7.5.3.1); Linux makes shorter ones
// still. We follow tables up to what a chain may hold.
bool is_table(uint32_t size) {
  return size != 0 && size % kDescriptor_size == 0 && size / kDescriptor_size <= kChainParts_max;
}

}  // namespace

bool ChainReader::add_across_regions(uint64_t guest_address, uint64_t size) {
  while (size > 0) {
    const iovec part = setup_.memory->translate_some(guest_address, size);
    if (part.iov_len == 0 || parts_.used() - first_ >= kChainParts_max || !parts_.add(part)) {
      return false;
    }
    guest_address += part.iov_len;
    size -= part.iov_len;
  }
  return true;
}

bool ChainReader::add_split_table(uint64_t guest_address, uint32_t size) {
  const uint8_t* table = is_table(size) ? setup_.memory->translate(guest_address, size) : nullptr;
  if (table == nullptr) return false;
  const auto count = static_cast<uint32_t>(size / kDescriptor_size);
  uint32_t index = 0;
  for (uint32_t steps = 0; steps < count; ++steps) {
    const uint8_t* entry = table + size_t{index} * kDescriptor_size;
    const auto address = read_once<uint64_t>(entry);
    const auto rest = read_once<uint64_t>(entry + 8);
    const auto flags = static_cast<uint16_t>(rest >> 32U);
    if ((flags & kDescriptorIndirect) != 0) return false;
    if (!add(address, static_cast<uint32_t>(rest), flags)) return false;
    if ((flags & kDescriptorNext) == 0) return true;
    index = static_cast<uint16_t>(rest >> 48U);
    if (index >= count) return false;
  }
  return false;  // more steps than entries: it goes round
}

// §2.8.7: the entries in order, all of them; of their flags only WRITE means anything. And that
// only for what we are to write: DPDK's guest driver (22.11) sets it in the first entry of each
// transmit table, where reading such memory is harmless.
bool ChainReader::add_packed_table(uint64_t guest_address, uint32_t size) {
  const uint8_t* table = is_table(size) ? setup_.memory->translate(guest_address, size) : nullptr;
  if (table == nullptr) return false;
  for (uint32_t at = 0; at < size; at += kDescriptor_size) {
    const auto address = read_once<uint64_t>(table + at);
    const auto rest = read_once<uint64_t>(table + at + 8);
    const auto flags = static_cast<uint16_t>(rest >> 48U);
    const bool reads = setup_.direction == Direction::kRead;
    if (!add(address, static_cast<uint32_t>(rest), reads ? uint16_t{0} : flags)) {
      return false;
    }
  }
  return true;
}

}  // namespace netstack
