#include "netstack/forwards/target_opener.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "netstack/base/error.h"

namespace netstack {

namespace {

constexpr int kChannel = 3;  // its number in the opener
constexpr int kExitUnusable = 126;

struct Question {
  uint32_t id;
  uint32_t index;
};

struct Reply {
  uint32_t id;
  int32_t errno_value;
};

union Control {
  cmsghdr align;
  std::array<char, CMSG_SPACE(sizeof(int))> bytes;
};

// --- in the opener
// --------------------------------------------------------------------------------

[[noreturn]] void run_command(const std::string& command, int socket) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  ::signal(SIGCHLD, SIG_DFL);
  ::signal(SIGTERM, SIG_DFL);
  ::dup2(socket, STDIN_FILENO);
  ::dup2(socket, STDOUT_FILENO);
  ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
  ::_exit(kExitUnusable);
}

// Our end of a new command's standard input and output.
Fd start_command(const std::string& command) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return Fd();
  Fd ours(ends[0]);
  const Fd theirs(ends[1]);
  const pid_t pid = ::fork();
  if (pid == 0) run_command(command, theirs.get());
  if (pid < 0) return Fd();
  return ours;
}

Fd connect_path(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (socket &&
      ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int errno_value = errno;
    socket.reset();
    errno = errno_value;
  }
  return socket;
}

Fd open_target(const GuestForward& target) {
  Fd socket = target.kind == GuestForward::Kind::kCommand ? start_command(target.target)
                                                          : connect_path(target.target);
  if (socket) ::fcntl(socket.get(), F_SETFL, O_NONBLOCK);
  return socket;
}

void send_reply(Reply reply, int socket) {
  iovec part{&reply, sizeof reply};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  Control control{};
  if (socket >= 0) {
    message.msg_control = control.bytes.data();
    message.msg_controllen = control.bytes.size();
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof socket);
    std::memcpy(CMSG_DATA(head), &socket, sizeof socket);
  }
  ::sendmsg(kChannel, &message, MSG_NOSIGNAL);
}

void stand_apart(int channel) {
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGCHLD, SIG_IGN);  // no zombies
  for (const int signal : {SIGPIPE, SIGXFSZ}) ::signal(signal, SIG_DFL);
  ::signal(SIGTERM, SIG_IGN);  // it ends with its channel, after its commands
  ::setpgid(0, 0);             // the terminal's signals are for the gateway
  ::prctl(PR_SET_NAME, "lanyard-opener");
  const int null = ::open("/dev/null", O_RDWR);
  ::dup2(null, STDIN_FILENO);
  ::dup2(null, STDOUT_FILENO);
  if (channel != kChannel) ::dup2(channel, kChannel);
  ::fcntl(kChannel, F_SETFD, FD_CLOEXEC);
  ::close_range(kChannel + 1, ~0U, 0);
}

[[noreturn]] void serve(int channel, const std::vector<GuestForward>& targets) {
  stand_apart(channel);
  Question question{};
  for (;;) {
    const ssize_t size = ::recv(kChannel, &question, sizeof question, 0);
    if (size < 0 && errno == EINTR) continue;
    if (size != sizeof question || question.index >= targets.size()) break;
    errno = 0;
    const Fd socket = open_target(targets[question.index]);
    send_reply({question.id, socket ? 0 : errno}, socket.get());
  }
  ::kill(0, SIGTERM);
  ::_exit(EXIT_SUCCESS);
}

}  // namespace

TargetOpener::TargetOpener(const std::vector<GuestForward>& targets) {
  const auto refuse = [] {
    return host_error(errno, "make the process that opens guest forwards",
                      "raise `ulimit -u` and `ulimit -n`");
  };
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) throw refuse();
  channel_.reset(ends[0]);
  const Fd theirs(ends[1]);
  ::fcntl(channel_.get(), F_SETFL, O_NONBLOCK);
  const pid_t pid = ::fork();
  if (pid < 0) throw refuse();
  if (pid == 0) {  // twice, so that it is not our child
    const pid_t opener = ::fork();
    if (opener == 0) serve(theirs.get(), targets);
    ::_exit(opener > 0 ? EXIT_SUCCESS : EXIT_FAILURE);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  errno = EAGAIN;
  if (status != EXIT_SUCCESS) throw refuse();
}

bool TargetOpener::ask(uint32_t id, uint32_t index) {
  const Question question{id, index};
  return ::send(channel_.get(), &question, sizeof question, MSG_NOSIGNAL) == sizeof question;
}

std::optional<TargetOpener::Answer> TargetOpener::take() {
  Reply reply{};
  iovec part{&reply, sizeof reply};
  Control control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  const ssize_t size = ::recvmsg(channel_.get(), &message, MSG_CMSG_CLOEXEC);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  if (size != sizeof reply) {
    gone_ = true;
    return std::nullopt;
  }
  Answer answer{.id = reply.id, .errno_value = reply.errno_value, .socket = {}};
  if (const cmsghdr* head = CMSG_FIRSTHDR(&message)) {
    int socket = -1;
    std::memcpy(&socket, CMSG_DATA(head), sizeof socket);
    answer.socket.reset(socket);
  } else if (answer.errno_value == 0) {
    answer.errno_value = EMFILE;  // it was sent, and there was no number left for it here
  }
  return answer;
}

}  // namespace netstack
