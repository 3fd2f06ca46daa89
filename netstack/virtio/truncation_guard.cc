// Touching a mapped page behind the end of its file raises SIGBUS, whose default ends the process.
// The file under a guest's memory belongs to its front end, which can cut it at any moment: one bad
// peer would end every guest's network. Two ways out:
//
//  - Demand F_SEAL_SHRINK. QEMU's memory-backend-memfd seals its files, but memory-backend-file,
//    huge pages and DPDK do not, so this would refuse most front ends. Refused.
//  - Catch the signal. The handler finds the mapping the address lies in, maps zeros over all of it
//    and returns; the instruction that failed runs again and reads or writes zeros. The mapping is
//    marked lost, and its owner closes the port when it next looks.
//
// The handler uses nothing but a table of atomics and mmap(2), a plain system call on Linux. It
// replaces whole mappings and not single pages, since a page of a huge-page file cannot be replaced
// alone. An address of no mapping of ours is a bug of ours, and the default action does what it
// always did.
//
// System calls that read such a page do not raise a signal; they fail with EFAULT.
#include "netstack/virtio/truncation_guard.h"

#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <utility>

namespace netstack {
namespace {

struct Slot {
  std::atomic<uintptr_t> start{0};  // 0: free
  std::atomic<size_t> size{0};
  std::atomic<bool> lost{false};
};

std::array<Slot, kGuardedMappings_count> slots;
std::atomic<size_t> slots_used{0};  // no slot from here on was ever taken

void replace_lost(int signal_number, siginfo_t* info, void*) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  const size_t count = slots_used.load();
  for (size_t at = 0; at < count; ++at) {
    Slot& slot = slots[at];
    const uintptr_t start = slot.start.load();
    const size_t size = slot.size.load();
    if (start == 0 || address - start >= size) continue;
    slot.lost.store(true);
    void* zeros = ::mmap(reinterpret_cast<void*>(start), size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    if (zeros != MAP_FAILED) return;
    break;
  }
  ::signal(signal_number, SIG_DFL);  // the instruction runs again, and that is the end
}

void watch_for_truncation() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_sigaction = replace_lost;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(SIGBUS, &action, nullptr);
  });
}

// kGuardedMappings_count: all are taken. Mappings are made and unmade by one thread.
size_t take_slot(uintptr_t start, size_t size) {
  const auto free =
      std::find_if(slots.begin(), slots.end(), [](const Slot& slot) { return slot.start == 0; });
  const auto at = static_cast<size_t>(free - slots.begin());
  if (free == slots.end()) return at;
  free->lost = false;
  free->size = size;
  free->start = start;
  slots_used = std::max(slots_used.load(), at + 1);
  return at;
}

}  // namespace

GuardedMapping::GuardedMapping(int file, size_t size, size_t page_size) {
  watch_for_truncation();
  const size_t page = std::max<size_t>(page_size, 4096);
  size_ = (size + page - 1) / page * page;
  reserved_size_ = size_ + 3 * page;  // one before, one behind, one to align
  void* reserved = ::mmap(nullptr, reserved_size_, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  refusal_ = "memory that cannot be mapped";
  if (reserved == MAP_FAILED) return;
  reserved_ = static_cast<uint8_t*>(reserved);
  const auto start = (reinterpret_cast<uintptr_t>(reserved) + 2 * page - 1) / page * page;
  void* base = ::mmap(reinterpret_cast<void*>(start), size_, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_NORESERVE | MAP_FIXED, file, 0);
  if (base == MAP_FAILED) return;
  slot_ = take_slot(reinterpret_cast<uintptr_t>(base), size_);
  refusal_ = "more memory regions than this switch maps";
  if (slot_ == kGuardedMappings_count) return;
  refusal_ = {};
  base_ = static_cast<uint8_t*>(base);
}

GuardedMapping::GuardedMapping(GuardedMapping&& other) noexcept {
  swap(other);
}

GuardedMapping& GuardedMapping::operator=(GuardedMapping&& other) noexcept {
  GuardedMapping(std::move(other)).swap(*this);
  return *this;
}

GuardedMapping::~GuardedMapping() {
  if (base_ != nullptr) slots[slot_].start = 0;
  if (reserved_ != nullptr) ::munmap(reserved_, reserved_size_);
}

void GuardedMapping::swap(GuardedMapping& other) noexcept {
  std::swap(reserved_, other.reserved_);
  std::swap(reserved_size_, other.reserved_size_);
  std::swap(base_, other.base_);
  std::swap(size_, other.size_);
  std::swap(slot_, other.slot_);
  std::swap(refusal_, other.refusal_);
}

bool GuardedMapping::lost() const {
  return base_ != nullptr && slots[slot_].lost.load();
}

}  // namespace netstack
