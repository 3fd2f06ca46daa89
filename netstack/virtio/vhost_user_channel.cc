// A front end writes head, payload and descriptors in one call, but it is a stream: they may come
// in pieces, and descriptors arrive with the first piece. Reading stops at the end of the message,
// so that the next one's descriptors are not taken for this one's.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "netstack/virtio/vhost_user_message.h"

namespace netstack {
namespace {

using Control = std::array<uint8_t, CMSG_SPACE(sizeof(int) * kVhostUserFds_max)>;

void take_fds(msghdr& message, std::vector<Fd>& fds) {
  for (cmsghdr* at = CMSG_FIRSTHDR(&message); at != nullptr; at = CMSG_NXTHDR(&message, at)) {
    if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(at) + i * sizeof fd, sizeof fd);
      fds.emplace_back(fd);
    }
  }
}

}  // namespace

VhostUserChannel::Got VhostUserChannel::broken(const char* why) {
  why_ = why;
  return Got::kBroken;
}

VhostUserChannel::Got VhostUserChannel::read_into(uint8_t* at, size_t size) {
  alignas(cmsghdr) Control control;
  iovec piece{at, size};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  const ssize_t got = ::recvmsg(socket_.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0) return errno == EAGAIN || errno == EINTR ? Got::kNothing : Got::kEnd;
  take_fds(header, message_.fds);
  if ((header.msg_flags & MSG_CTRUNC) != 0 || message_.fds.size() > kVhostUserFds_max) {
    return broken("a message with more descriptors than any has");
  }
  if (got == 0 && have_size_ != 0) return broken("a part of a message, and left");
  if (got == 0) return Got::kEnd;
  have_size_ += static_cast<size_t>(got);
  return Got::kMessage;
}

VhostUserChannel::Got VhostUserChannel::receive() {
  constexpr size_t kHead_size = sizeof(VhostUserHead);
  if (have_size_ == 0) message_.fds.clear();
  while (have_size_ < kHead_size) {
    auto* head = reinterpret_cast<uint8_t*>(&message_.head);
    const Got got = read_into(head + have_size_, kHead_size - have_size_);
    if (got != Got::kMessage) return got;
  }
  if ((message_.head.flags & kVhostUserVersionMask) != kVhostUserVersion) {
    return broken("a message that is not vhost-user version 1");
  }
  if (message_.head.size > message_.payload.size()) {
    return broken("a message longer than any is");
  }
  while (have_size_ < kHead_size + message_.head.size) {
    const size_t have = have_size_ - kHead_size;
    const Got got = read_into(&message_.payload[have], message_.head.size - have);
    if (got != Got::kMessage) return got;
  }
  have_size_ = 0;
  return Got::kMessage;
}

bool VhostUserChannel::send(const VhostUserMessage& message, int fd) {
  alignas(cmsghdr) std::array<uint8_t, CMSG_SPACE(sizeof(int))> control{};
  std::array<iovec, 2> pieces{{{const_cast<VhostUserHead*>(&message.head), sizeof message.head},
                               {const_cast<uint8_t*>(message.payload.data()), message.head.size}}};
  msghdr header{};
  header.msg_iov = pieces.data();
  header.msg_iovlen = pieces.size();
  if (fd >= 0) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  const ssize_t sent = ::sendmsg(socket_.get(), &header, MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent == static_cast<ssize_t>(sizeof message.head + message.head.size);
}

}  // namespace netstack
