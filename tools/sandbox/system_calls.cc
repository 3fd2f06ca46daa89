// An allow list, written with libseccomp. Two kinds of refusal:
//
//   not on the list     the process ends by SIGSYS, after a line that names the call. Nothing that
//                       works calls it, so it is either a hole in this list, which must be seen to
//                       be mended, or somebody else's code.
//   wrong argument      an errno. A guest can bring libslirp to try a raw socket when a ping socket
//                       is refused, and a C library tries the newest call first: neither may cost
//                       the LAN. So what is asked for in vain by honest code is refused mildly.
//
// System calls younger than the list (the numbers from kYoungCallFirst) fail with ENOSYS, as in an
// older kernel, so that a newer C library falls back to what is on it.
//
// The handler runs on the thread that made the call, which has not been carried out. It only
// writes; names were looked up before. Should an attacker replace the handler, the call is still
// not carried out.
//
// Cost: the kernel keeps a bitmap of the calls that are allowed whatever their arguments, which are
// all of the packet path; only the others run the filter, as a binary tree.
#include "tools/sandbox/system_calls.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/netlink.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

#include "netstack/base/error.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LANYARD_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LANYARD_SANITIZED 1
#endif
#endif

namespace tools {

namespace {

#ifdef LANYARD_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

constexpr int kYoungCallFirst = 451;  // cachestat, of 6.5
constexpr int kYoungCallLast = 600;   // as far as any kernel will get for years

constexpr unsigned kSocketTypeMask = 15;  // of the type of socket(2); above are flags

// Allowed whatever their arguments.
constexpr int kCalls[] = {
    // descriptors
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(close),
    SCMP_SYS(lseek),
    SCMP_SYS(dup),
    SCMP_SYS(dup2),
    SCMP_SYS(dup3),
    SCMP_SYS(fcntl),
    SCMP_SYS(flock),
    SCMP_SYS(ftruncate),
    SCMP_SYS(eventfd2),
    SCMP_SYS(memfd_create),
    SCMP_SYS(pipe2),
    // waiting
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(select),
    SCMP_SYS(pselect6),
    SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(restart_syscall),
    // files, within the other wall
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(stat),
    SCMP_SYS(lstat),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(getcwd),
    SCMP_SYS(getdents64),
    SCMP_SYS(link),
    SCMP_SYS(linkat),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(rmdir),
    SCMP_SYS(rename),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(fsync),
    SCMP_SYS(chmod),
    SCMP_SYS(fchmod),
    SCMP_SYS(fchmodat),
    SCMP_SYS(chown),
    SCMP_SYS(fchown),
    SCMP_SYS(fchownat),
    SCMP_SYS(fstatfs),
    // sockets; socket(2) itself is below
    SCMP_SYS(bind),
    SCMP_SYS(listen),
    SCMP_SYS(accept),
    SCMP_SYS(accept4),
    SCMP_SYS(connect),
    SCMP_SYS(shutdown),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(sendto),
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendmsg),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendmmsg),
    SCMP_SYS(recvmmsg),
    // memory; mmap and mprotect are below
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    // threads, signals, time, oneself
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getppid),
    SCMP_SYS(getpgrp),
    SCMP_SYS(getpgid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(getgroups),
    SCMP_SYS(getrandom),
    SCMP_SYS(getrlimit),
    SCMP_SYS(getrusage),
    SCMP_SYS(getcpu),
    SCMP_SYS(sysinfo),
    SCMP_SYS(uname),
};

// Of a process that has children.
constexpr int kCallsForChildren[] = {SCMP_SYS(kill), SCMP_SYS(pidfd_open),
                                     SCMP_SYS(pidfd_send_signal), SCMP_SYS(wait4),
                                     SCMP_SYS(waitid)};

constexpr unsigned long kIoctls[] = {TCGETS,       TCSETS,     TCSETSW,  TCSETSF,
                                     TIOCGWINSZ,   TIOCGPGRP,  FIONREAD,
                                     FIONBIO,  // libslirp, libmicrohttpd
                                     SIOCGIFINDEX, SIOCGIFNAME};

// --- a call that is not on the list
// ---------------------------------------------------------------

constexpr size_t kNamedCalls_count = 512;
std::array<char*, kNamedCalls_count> call_names;  // for the handler; null: no name known

void name_calls() {
  for (size_t number = 0; number < kNamedCalls_count; ++number) {
    call_names[number] =
        seccomp_syscall_resolve_num_arch(seccomp_arch_native(), static_cast<int>(number));
  }
}

// Only what signal-safety(7) allows.
void on_forbidden_call(int signal, siginfo_t* about, void* /*context*/) {
  const auto number = static_cast<size_t>(about->si_syscall);
  std::array<char, 160> line;
  size_t size = 0;
  const auto add = [&](std::string_view text) {
    const size_t taken = std::min(text.size(), line.size() - size);
    std::memcpy(&line[size], text.data(), taken);
    size += taken;
  };
  std::array<char, 20> digits;
  size_t first = digits.size();
  for (size_t rest = number; first == digits.size() || rest > 0; rest /= 10) {
    digits[--first] = static_cast<char>('0' + rest % 10);
  }
  add("lanyard: the sandbox ends this process: it made system call ");
  add({&digits[first], digits.size() - first});
  const char* name = number < call_names.size() ? call_names[number] : nullptr;
  if (name != nullptr) {
    add(" (");
    add(name);
    add(")");
  }
  add(", which is not on its list; please report it\n");
  (void)!::write(STDERR_FILENO, line.data(), size);
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

void watch_for_forbidden_calls() {
  name_calls();
  struct sigaction action {};
  action.sa_sigaction = on_forbidden_call;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  ::sigaction(SIGSYS, &action, nullptr);
}

// --- the filter
// -----------------------------------------------------------------------------------

// About an argument, counted from 0: `first` is the value, or the mask that is compared with
// `second`.
scmp_arg_cmp when(unsigned argument, scmp_compare how, uint64_t first, uint64_t second = 0) {
  return {argument, how, first, second};
}

class Filter {
 public:
  Filter() : context_(seccomp_init(SCMP_ACT_TRAP), seccomp_release) {
    if (context_ == nullptr) throw refused(ENOMEM);
    set(SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    set(SCMP_FLTATR_CTL_TSYNC, 1);
    set(SCMP_FLTATR_CTL_OPTIMIZE, 2);  // a binary tree
  }

  void allow(int call) { add(SCMP_ACT_ALLOW, call, {}); }
  template <size_t count>
  void allow(const int (&calls)[count]) {
    for (const int call : calls) allow(call);
  }
  template <class... Conditions>
  void allow_if(int call, Conditions... conditions) {
    add(SCMP_ACT_ALLOW, call, {{conditions...}}, sizeof...(conditions));
  }
  template <class... Conditions>
  void refuse_if(int errno_value, int call, Conditions... conditions) {
    add(SCMP_ACT_ERRNO(errno_value), call, {{conditions...}}, sizeof...(conditions));
  }
  void refuse(int errno_value, int call) { add(SCMP_ACT_ERRNO(errno_value), call, {}); }

  int load() { return -seccomp_load(context_.get()); }

  static netstack::Error refused(int errno_value) {
    return netstack::host_error(errno_value, "lock the system calls",
                                "set LANYARD_SANDBOX=off to go without a sandbox");
  }

 private:
  static constexpr size_t kArguments_count = 6;
  using Conditions = std::array<scmp_arg_cmp, kArguments_count>;

  void add(uint32_t action, int call, const Conditions& conditions, unsigned count = 0) {
    const int wrong =
        seccomp_rule_add_array(context_.get(), action, call, count, conditions.data());
    if (wrong != 0) throw refused(-wrong);
  }
  void set(scmp_filter_attr attribute, uint32_t value) {
    if (const int wrong = seccomp_attr_set(context_.get(), attribute, value); wrong != 0) {
      throw refused(-wrong);
    }
  }

  std::unique_ptr<void, void (*)(scmp_filter_ctx)> context_;
};

// Decides about sockets of these kinds. Of those that nobody asks for in vain no word is said.
void decide_sockets(Filter& filter, bool allowed, unsigned family, unsigned type) {
  constexpr int kCall = SCMP_SYS(socket);
  const auto of_family = when(0, SCMP_CMP_EQ, family);
  const auto of_type = when(1, SCMP_CMP_MASKED_EQ, kSocketTypeMask, type);
  if (allowed) {
    filter.allow_if(kCall, of_family, of_type);
  } else {
    filter.refuse_if(EACCES, kCall, of_family, of_type);
  }
}

void allow_sockets(Filter& filter, const SandboxPlan& plan) {
  for (const unsigned family : {AF_INET, AF_INET6}) {
    decide_sockets(filter, plan.internet, family, SOCK_STREAM);
    decide_sockets(filter, plan.internet, family, SOCK_DGRAM);
    decide_sockets(filter, false, family, SOCK_RAW);
  }
  decide_sockets(filter, true, AF_UNIX, SOCK_DGRAM);
  decide_sockets(filter, plan.unix_streams, AF_UNIX, SOCK_STREAM);
  if (!plan.internet) return;
  constexpr int kCall = SCMP_SYS(socket);
  const auto netlink = when(0, SCMP_CMP_EQ, AF_NETLINK);
  filter.allow_if(kCall, netlink, when(2, SCMP_CMP_EQ, NETLINK_ROUTE));
  filter.refuse_if(EACCES, kCall, netlink, when(2, SCMP_CMP_NE, NETLINK_ROUTE));
}

// No memory that can be executed: no code that was not there before.
void allow_memory(Filter& filter) {
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)}) {
    filter.allow_if(call, when(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    filter.refuse_if(EACCES, call, when(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC));
  }
}

// Threads, but no processes. clone3's flags are in memory, out of the filter's sight: without it
// the C library takes clone.
void allow_threads(Filter& filter) {
  filter.refuse(ENOSYS, SCMP_SYS(clone3));
  filter.allow_if(SCMP_SYS(clone), when(0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
  filter.allow_if(SCMP_SYS(prctl), when(0, SCMP_CMP_EQ, PR_SET_NAME));
  // Its own limits, to look at: glibc asks for the size of a stack.
  filter.allow_if(SCMP_SYS(prlimit64), when(0, SCMP_CMP_EQ, 0), when(2, SCMP_CMP_EQ, 0));
  // abort(3) and raise(3).
  filter.allow_if(SCMP_SYS(tgkill), when(0, SCMP_CMP_EQ, static_cast<uint64_t>(::getpid())));
}

void allow_all_of(Filter& filter, const SandboxPlan& plan) {
  filter.allow(kCalls);
  allow_sockets(filter, plan);
  allow_memory(filter);
  allow_threads(filter);
  for (const unsigned long request : kIoctls) {
    filter.allow_if(SCMP_SYS(ioctl), when(1, SCMP_CMP_EQ, request));
  }
  if (plan.children) {
    filter.allow(kCallsForChildren);
    filter.allow_if(SCMP_SYS(prctl), when(0, SCMP_CMP_EQ, PR_SET_CHILD_SUBREAPER));
  }
  for (int call = kYoungCallFirst; call <= kYoungCallLast; ++call) filter.refuse(ENOSYS, call);
}

}  // namespace

std::string lock_system_calls(const SandboxPlan& plan) {
  if (kSanitized) return "a sanitizer build has no filter of system calls; use another build";
  Filter filter;
  allow_all_of(filter, plan);
  watch_for_forbidden_calls();
  const int refusal = filter.load();
  if (refusal == 0) return {};
  if (refusal != EINVAL && refusal != ENOSYS && refusal != ECANCELED) {
    throw Filter::refused(refusal);
  }
  return fmt::format(
      "this kernel has no seccomp filters ({}), so every system call is open; take one that has",
      netstack::errno_text(refusal));
}

}  // namespace tools
