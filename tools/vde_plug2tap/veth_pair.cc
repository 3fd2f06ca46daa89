// rtnetlink(7), four requests: make the pair, ask for the peer of the outer end (IFLA_LINK), take
// automatic IPv6 addresses off the inner one, set it up without ARP. The kernel chooses the inner
// name (veth0, veth1, …), since no name of ours could be sure to be free and to fit 15 characters.
//
// Why deaf: the machine whose bridge the outer end joins would otherwise hear each broadcast twice,
// once more through the inner end, and answer ARP requests for its own addresses from there, with
// the wrong MAC address.
#include "tools/vde_plug2tap/veth_pair.h"

#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <linux/capability.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <exception>
#include <functional>
#include <memory>
#include <vector>

#include "netstack/base/error.h"
#include "tools/sandbox/sandbox.h"

namespace tools {

using netstack::Error;
using netstack::host_error;

namespace {

// One request to rtnetlink and its answer.
class Request {
 public:
  Request(uint16_t type, uint16_t flags, unsigned index)
      : bytes_(static_cast<size_t>(MNL_SOCKET_BUFFER_SIZE)),
        head_(mnl_nlmsg_put_header(bytes_.data())) {
    head_->nlmsg_type = type;
    head_->nlmsg_flags = NLM_F_REQUEST | flags;
    head_->nlmsg_seq = 1;
    link_ = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(head_, sizeof(ifinfomsg)));
    link_->ifi_family = AF_UNSPEC;
    link_->ifi_index = static_cast<int>(index);
  }
  nlmsghdr* head() { return head_; }
  ifinfomsg& link() { return *link_; }

  // 0, or errno. `on_answer` sees each message that is no acknowledgement.
  int perform(const std::function<void(const nlmsghdr*)>& on_answer = {}) {
    const std::unique_ptr<mnl_socket, int (*)(mnl_socket*)> socket(
        mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC), mnl_socket_close);
    if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0) return errno;
    head_->nlmsg_flags |= NLM_F_ACK;
    if (mnl_socket_sendto(socket.get(), head_, head_->nlmsg_len) < 0) return errno;
    const auto see = [](const nlmsghdr* message, void* opaque) {
      const auto& answer = *static_cast<const std::function<void(const nlmsghdr*)>*>(opaque);
      if (answer) answer(message);
      return MNL_CB_OK;
    };
    for (;;) {
      std::vector<char> answer(static_cast<size_t>(MNL_SOCKET_BUFFER_SIZE));
      const ssize_t got = mnl_socket_recvfrom(socket.get(), answer.data(), answer.size());
      if (got < 0) return errno;
      const int more = mnl_cb_run(answer.data(), static_cast<size_t>(got), 1,
                                  mnl_socket_get_portid(socket.get()), see,
                                  const_cast<std::function<void(const nlmsghdr*)>*>(&on_answer));
      if (more < 0) return errno;
      if (more == MNL_CB_STOP) return 0;
    }
  }

 private:
  std::vector<char> bytes_;
  nlmsghdr* head_;
  ifinfomsg* link_ = nullptr;
};

Error cannot_make(const std::string& outer, int refusal) {
  const char* remedy = "";
  switch (refusal) {
    case EPERM:
      remedy = "run with CAP_NET_ADMIN, or give access to /dev/net/tun";
      break;
    case EEXIST:
      remedy =
          "there is an interface of that name; join it with `lanyard plug --packet`, or "
          "choose another name";
      break;
    case EOPNOTSUPP:
      remedy = "this kernel has no veth; give access to /dev/net/tun";
      break;
    default:
      break;
  }
  return host_error(refusal, fmt::format("make veth pair {}", outer), remedy, EX_UNAVAILABLE);
}

}  // namespace

VethPair::VethPair(const std::string& outer) {
  Request request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0);
  nlmsghdr* head = request.head();
  mnl_attr_put_strz(head, IFLA_IFNAME, outer.c_str());
  nlattr* info = mnl_attr_nest_start(head, IFLA_LINKINFO);
  mnl_attr_put_strz(head, IFLA_INFO_KIND, "veth");
  mnl_attr_nest_end(head, info);
  if (const int refusal = request.perform(); refusal != 0) throw cannot_make(outer, refusal);
  outer_index_ = ::if_nametoindex(outer.c_str());
  try {
    find_inner(outer);
    silence_inner();
    start_remover();
  } catch (...) {
    remove();
    throw;
  }
}

VethPair::~VethPair() {
  ::shutdown(remover_.get(), SHUT_WR);
  char nothing = 0;
  while (::read(remover_.get(), &nothing, 1) < 0 && errno == EINTR) {
  }
}

// The child holds no descriptor of its parent, whose peers would else wait for their end, and is in
// a session of its own, out of the terminal's signals.
void VethPair::start_remover() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    throw host_error(errno, "make a UNIX socket", "raise `ulimit -n`");
  }
  remover_ = netstack::Fd(ends[0]);
  const netstack::Fd theirs(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) throw host_error(errno, "start a process that removes the veth pair", "");
  if (child == 0) be_remover(theirs.get());
}

void VethPair::be_remover(int told_by) const {
  constexpr int kTold = 0;
  ::setsid();
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) ::signal(signal, SIG_IGN);
  ::prctl(PR_SET_NAME, "veth-remover");
  ::dup2(told_by, kTold);
  ::close_range(kTold + 1, ~0U, 0);
  SandboxPlan plan;
  plan.internet = true;  // rtnetlink
  plan.capabilities = {CAP_NET_ADMIN};
  try {
    if (sandbox_is_wanted()) lock_in(plan);
  } catch (const std::exception&) {  // it hears nobody but its parent
  }
  char nothing = 0;
  while (::read(kTold, &nothing, 1) < 0 && errno == EINTR) {
  }
  remove();
  ::_exit(EX_OK);
}

void VethPair::find_inner(const std::string& outer) {
  Request request(RTM_GETLINK, 0, outer_index_);
  const auto see = [](const nlattr* attribute, void* index) {
    if (mnl_attr_get_type(attribute) == IFLA_LINK) {
      *static_cast<unsigned*>(index) = mnl_attr_get_u32(attribute);
    }
    return MNL_CB_OK;
  };
  const int refusal = request.perform([&](const nlmsghdr* message) {
    mnl_attr_parse(message, sizeof(ifinfomsg), see, &inner_index_);
  });
  char name[IF_NAMESIZE];
  if (refusal != 0 || inner_index_ == 0 || ::if_indextoname(inner_index_, name) == nullptr) {
    throw cannot_make(outer, refusal != 0 ? refusal : ENODEV);
  }
  inner_ = name;
}

void VethPair::silence_inner() const {
  Request addresses(RTM_SETLINK, 0, inner_index_);
  nlattr* families = mnl_attr_nest_start(addresses.head(), IFLA_AF_SPEC);
  nlattr* inet6 = mnl_attr_nest_start(addresses.head(), AF_INET6);
  mnl_attr_put_u8(addresses.head(), IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
  mnl_attr_nest_end(addresses.head(), inet6);
  mnl_attr_nest_end(addresses.head(), families);
  addresses.perform();  // fails where there is no IPv6: then there is nothing to silence

  Request up(RTM_SETLINK, 0, inner_index_);
  up.link().ifi_flags = IFF_UP | IFF_NOARP;
  up.link().ifi_change = IFF_UP | IFF_NOARP;
  if (const int refusal = up.perform(); refusal != 0) throw cannot_make(inner_, refusal);
}

void VethPair::remove() const {
  // The other end goes with it. The inner one is in our namespace still, wherever the outer one is.
  Request(RTM_DELLINK, 0, inner_index_ != 0 ? inner_index_ : outer_index_).perform();
}

}  // namespace tools
