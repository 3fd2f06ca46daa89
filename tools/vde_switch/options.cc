// getopt_long_only(3), the parser the replaced program has, rather than the one `lanyard` uses:
// scripts in the world write -sock, --so and -s/tmp/x, and only the same function takes them all.
#include "tools/vde_switch/options.h"

#include <fmt/format.h>
#include <getopt.h>
#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "netstack/base/error.h"
#include "tools/lan/face.h"

namespace tools {

using netstack::Error;
using netstack::Mac;

namespace {

constexpr int kUsageStatus = 1;  // as vde_switch, not EX_USAGE
constexpr int kHashSizeMax = 1 << 20;

enum LongOnly : int {
  kDirectoryMode = 0x100,
  kMacAddress,
  kPriority,
  kHashSize,
  kManagementMode,
  kManagementGroup,
  kNoStdin,
};

constexpr const char* kShortOptions = ":hvn:xFs:m:g:dp:f:M:D:t:";

constexpr std::array kLongOptions = {
    option{"help", no_argument, nullptr, 'h'},
    option{"version", no_argument, nullptr, 'v'},
    option{"numports", required_argument, nullptr, 'n'},
    option{"hub", no_argument, nullptr, 'x'},
    option{"fstp", no_argument, nullptr, 'F'},
    option{"macaddr", required_argument, nullptr, kMacAddress},
    option{"priority", required_argument, nullptr, kPriority},
    option{"hashsize", required_argument, nullptr, kHashSize},
    option{"sock", required_argument, nullptr, 's'},
    option{"vdesock", required_argument, nullptr, 's'},
    option{"unix", required_argument, nullptr, 's'},
    option{"mode", required_argument, nullptr, 'm'},
    option{"mod", required_argument, nullptr, 'm'},
    option{"dirmode", required_argument, nullptr, kDirectoryMode},
    option{"group", required_argument, nullptr, 'g'},
    option{"daemon", no_argument, nullptr, 'd'},
    option{"pidfile", required_argument, nullptr, 'p'},
    option{"rcfile", required_argument, nullptr, 'f'},
    option{"mgmt", required_argument, nullptr, 'M'},
    option{"mgmtmode", required_argument, nullptr, kManagementMode},
    option{"mgmtgroup", required_argument, nullptr, kManagementGroup},
    option{"nostdin", no_argument, nullptr, kNoStdin},
    option{"debugclients", required_argument, nullptr, 'D'},
    option{"tap", required_argument, nullptr, 't'},
    option{nullptr, 0, nullptr, 0},
};

constexpr const char* kUsage =
    "Usage: vde_switch [OPTIONS]\n"
    "A VDE switch: virtual machines attach to it through a directory of sockets.\n"
    "\n"
    "  -h, --help             this text\n"
    "  -v, --version          version and licence\n"
    "  -s, --sock DIR         the directory (also --vdesock, --unix)\n"
    "                         default: /var/run/vde.ctl for root, else /tmp/vde.ctl\n"
    "  -m, --mode MODE        octal mode of the sockets (also --mod), default 0600\n"
    "      --dirmode MODE     octal mode of the directory, default 0700\n"
    "  -g, --group GROUP      group of directory and sockets\n"
    "  -n, --numports N       accepted and shown; the number of ports is not limited by it\n"
    "  -x, --hub              send every frame to every port\n"
    "  -F, --fstp             accepted; there is no spanning tree, a storm guard limits loops\n"
    "      --macaddr MAC      the switch's own address, as the console shows it\n"
    "      --priority N       its bridge priority, likewise\n"
    "      --hashsize N       accepted and shown; the table's limit does not depend on it\n"
    "  -t, --tap IFACE        attach a tap interface; may be repeated\n"
    "  -d, --daemon           go to the background once ready, log to syslog\n"
    "  -p, --pidfile FILE     write the process id there\n"
    "  -f, --rcfile FILE      console commands to run at start\n"
    "                         default: ~/.vde2/vde_switch.rc, else /etc/vde2/vde_switch.rc\n"
    "  -M, --mgmt SOCKET      console for others on a UNIX socket\n"
    "      --mgmtmode MODE    its octal mode, default 0600\n"
    "      --mgmtgroup GROUP  its group\n"
    "      --nostdin          leave standard input alone\n"
    "  -D, --debugclients N   accepted, without effect\n";

std::string version_text() {
  return fmt::format(
      "VDE {} (vde_switch of Lanyard {})\n"
      "Copyright the Lanyard authors; BSD 3-Clause License\n",
      kVdeVersion, LANYARD_VERSION);
}

Error refused(const std::string& what) {
  return Error(kUsageStatus, what + "; `vde_switch --help` shows the options");
}

// `base` 0 takes 0x and leading 0 as C does.
long number_of(const char* text, int base, long least, long most, const std::string& meaning) {
  char* end = nullptr;
  errno = 0;
  const long value = std::strtol(text, &end, base);
  if (end == text || *end != '\0' || errno != 0 || value < least || value > most) {
    throw refused(fmt::format("cannot use \"{}\" as {}", text, meaning));
  }
  return value;
}

mode_t mode_of(const char* text) {
  return static_cast<mode_t>(number_of(text, 8, 0, 07777, "a file mode: it is octal, as 0660"));
}

gid_t group_of(const char* text) {
  const auto group = find_group(text);
  if (!group) throw refused(fmt::format("cannot use group \"{}\": there is none", text));
  return *group;
}

Mac mac_of(const char* text) {
  Mac mac;
  const char* at = text;
  for (size_t i = 0; i < mac.octets.size(); ++i) {
    char* end = nullptr;
    const unsigned long octet = std::strtoul(at, &end, 16);
    const bool last = i + 1 == mac.octets.size();
    const bool separated = last ? *end == '\0' : (*end == ':' || *end == '.');
    if (end == at || end - at > 2 || octet > 0xff || !separated) {
      throw refused(
          fmt::format("cannot use \"{}\" as a MAC address: write it as 00:ff:01:02:03:04", text));
    }
    mac.octets[i] = static_cast<uint8_t>(octet);
    at = end + 1;
  }
  return mac;
}

Mac random_mac() {
  Mac mac{{0x00, 0xff, 0, 0, 0, 0}};
  if (::getrandom(&mac.octets[2], 4, 0) != 4) {
    throw netstack::host_error(errno, "get random bytes for the switch's address", "");
  }
  return mac;
}

// A daemon changes its directory.
std::string absolute(const char* path) {
  if (*path == '\0') throw refused("cannot use an empty path");
  std::error_code refusal;
  const auto whole = std::filesystem::absolute(path, refusal);
  return refusal ? std::string(path) : whole.string();
}

std::string default_directory() {
  return ::geteuid() == 0 ? "/var/run/vde.ctl" : "/tmp/vde.ctl";
}

void apply(int found, VdeSwitchOptions& options) {
  switch (found) {
    case 'h':
      options.answer = {kUsage, kUsageStatus};
      break;
    case 'v':
      options.answer = {version_text(), 0};
      break;
    case 'n':
      options.port_count = static_cast<int>(number_of(optarg, 0, 1, INT_MAX, "a number of ports"));
      break;
    case 'x':
      options.hub = true;
      break;
    case 'F':
      options.spanning_tree = true;
      break;
    case 's':
      options.directory = absolute(optarg);
      break;
    case 'm':
      options.mode = mode_of(optarg);
      break;
    case 'g':
      options.group = group_of(optarg);
      break;
    case 'd':
      options.daemon = true;
      break;
    case 'p':
      options.pid_file = absolute(optarg);
      break;
    case 'f':
      options.rc_file = absolute(optarg);
      break;
    case 'M':
      options.management = absolute(optarg);
      break;
    case 'D':
      break;
    case 't':
      options.taps.emplace_back(optarg);
      break;
    case kDirectoryMode:
      options.directory_mode = mode_of(optarg);
      break;
    case kMacAddress:
      options.mac = mac_of(optarg);
      break;
    case kPriority:
      options.priority = static_cast<int>(
          static_cast<unsigned long>(number_of(optarg, 0, LONG_MIN, LONG_MAX, "a priority")) &
          0xffffU);
      break;
    case kHashSize:
      options.hash_size = static_cast<int>(number_of(optarg, 0, 1, kHashSizeMax, "a hash size"));
      break;
    case kManagementMode:
      options.management_mode = mode_of(optarg);
      break;
    case kManagementGroup:
      options.management_group = group_of(optarg);
      break;
    case kNoStdin:
      options.reads_stdin = false;
      break;
  }
}

// x for a class of users wherever they may read or write.
mode_t with_search(mode_t mode) {
  mode_t out = mode & 0666U;
  for (const unsigned shift : {0U, 3U, 6U}) {
    if ((mode >> shift & 06U) != 0) out |= 01U << shift;
  }
  return out;
}

}  // namespace

mode_t VdeSwitchOptions::socket_mode() const {
  if (mode) return *mode;
  return directory_mode ? *directory_mode & 0666U : mode_t{0600};
}

mode_t VdeSwitchOptions::lan_directory_mode() const {
  if (directory_mode) return *directory_mode;
  return mode ? with_search(*mode) : mode_t{0700};
}

VdeSwitchOptions parse_vde_switch_options(int argc, char** argv) {
  VdeSwitchOptions options;
  options.mac = random_mac();
  optind = 0;  // start anew
  opterr = 0;
  for (int found = 0; !options.answer;) {
    found = ::getopt_long_only(argc, argv, kShortOptions, kLongOptions.data(), nullptr);
    if (found == -1) break;
    if (found == ':') {
      throw refused(fmt::format("cannot use {}: its value is missing", argv[optind - 1]));
    }
    if (found == '?') throw refused(fmt::format("cannot understand option {}", stopped_at(argv)));
    apply(found, options);
  }
  if (!options.answer && optind < argc) {
    throw refused(fmt::format("cannot understand \"{}\": it belongs to no option", argv[optind]));
  }
  if (options.directory.empty()) options.directory = default_directory();
  return options;
}

}  // namespace tools
