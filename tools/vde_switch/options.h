#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "netstack/frame/mac.h"

namespace tools {

// What clients read out of the banner: "V." and a version up to the end of the line.
constexpr const char* kVdeVersion = "2.3.3";  // whose command line and console we speak

// The command line of vde_switch(1). Paths are absolute.
struct VdeSwitchOptions {
  std::string directory;  // never empty
  std::optional<mode_t> mode;
  std::optional<mode_t> directory_mode;
  std::optional<gid_t> group;
  std::string management;  // socket; empty: none
  mode_t management_mode = 0600;
  std::optional<gid_t> management_group;
  std::string pid_file;  // empty: none
  std::string rc_file;   // empty: the usual ones, if they are there
  std::vector<std::string> taps;
  int port_count = 32;  // shown and kept; not a limit here
  int hash_size = 128;  // likewise; rounded up to a power of two where it is used
  int priority = 0x8000;
  netstack::Mac mac;
  bool hub = false;
  bool spanning_tree = false;  // asked for
  bool daemon = false;
  bool reads_stdin = true;

  // What was asked for but is answered at once: a text for stdout and the exit status.
  struct Answer {
    std::string text;
    int status;
  };
  std::optional<Answer> answer;

  // Sockets and directory get these. No set-group-ID by default, so that a switch starts where
  // it is forbidden; only --mode without --dirmode asks for it, where permitted.
  mode_t socket_mode() const;
  mode_t lan_directory_mode() const;
  bool wants_set_group_id() const { return mode && !directory_mode; }
};

// Throws Error (exit code 1) for what cannot be understood. getopt(3) inside: not reentrant.
VdeSwitchOptions parse_vde_switch_options(int argc, char** argv);

}  // namespace tools
