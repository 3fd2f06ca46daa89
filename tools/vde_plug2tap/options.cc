#include "tools/vde_plug2tap/options.h"

#include <fmt/format.h>
#include <getopt.h>

#include <array>

#include "netstack/base/check.h"
#include "netstack/base/error.h"
#include "tools/lan/face.h"

namespace tools {

const char* const kPlug2TapUsage =
    "Usage: vde_plug2tap [OPTION]... tap_name\n"
    "Joins a tap interface of this machine to a VDE switch.\n\n"
    "  -s, --sock=DIR         the switch's directory, DIR[5] for its port 5; - is stdin and "
    "stdout\n"
    "  -p, --port=N           port of the switch to ask for\n"
    "  -m, --mode=MODE        octal mode of our socket (also --mod), default 0700\n"
    "  -g, --group=GROUP      group of our socket\n"
    "  -d, --daemon           go to the background when it works\n"
    "  -P, --pidfile=FILE     write the process number there\n"
    "  -h, --help             this text\n\n"
    "Without /dev/net/tun, and with CAP_NET_ADMIN, tap_name becomes one end of a veth pair.\n";

namespace {

constexpr std::array kLongOptions = {option{"sock", required_argument, nullptr, 's'},
                                     option{"vdesock", required_argument, nullptr, 's'},
                                     option{"unix", required_argument, nullptr, 's'},
                                     option{"port", required_argument, nullptr, 'p'},
                                     option{"mode", required_argument, nullptr, 'm'},
                                     option{"mod", required_argument, nullptr, 'm'},
                                     option{"group", required_argument, nullptr, 'g'},
                                     option{"daemon", no_argument, nullptr, 'd'},
                                     option{"pidfile", required_argument, nullptr, 'P'},
                                     option{"help", no_argument, nullptr, 'h'},
                                     option{nullptr, 0, nullptr, 0}};

constexpr uint32_t kPortMax = (1U << 24U) - 1;  // the request's field

netstack::Error usage_error(const std::string& what) {
  return {kFaceUsageStatus,
          fmt::format("cannot understand the command line: {}; `vde_plug2tap --help` shows what "
                      "there is",
                      what)};
}

void take(int letter, Plug2TapOptions& options) {
  switch (letter) {
    case 's':
      options.plug.where = given_path(optarg, "--sock");
      break;
    case 'p':
      options.plug.port_number = whole_number(optarg, kPortMax, "--port");
      break;
    case 'm':
      options.plug.mode = octal_mode(optarg);
      break;
    case 'g':
      options.plug.group = group_id(optarg);
      break;
    case 'd':
      options.plug.background = true;
      break;
    case 'P':
      options.plug.pid_file = given_path(optarg, "--pidfile");
      break;
    case 'h':
      options.help = true;
      break;
    default:
      netstack::check(false, "getopt returns what it was given");
  }
}

}  // namespace

Plug2TapOptions parse_plug2tap_options(int argc, char** argv) {
  Plug2TapOptions options;
  optind = 0;
  opterr = 0;
  for (;;) {
    const int letter =
        ::getopt_long_only(argc, argv, ":s:p:m:g:dP:h", kLongOptions.data(), nullptr);
    if (letter < 0) break;
    if (letter == '?') throw usage_error(fmt::format("there is no option {}", stopped_at(argv)));
    if (letter == ':') throw usage_error(fmt::format("{} needs a value", stopped_at(argv)));
    take(letter, options);
  }
  if (options.help) return options;
  if (argc - optind != 1) {
    throw usage_error(fmt::format("{} interfaces are named where one is needed", argc - optind));
  }
  options.tap = argv[optind];
  return options;
}

}  // namespace tools
