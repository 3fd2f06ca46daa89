#pragma once

#include <string>
#include <vector>

#include "driver/guest.h"
#include "driver/transport.h"

namespace driver {

// The user's QEMU command with a virtio-net card added at its end, plugged as `attachment` says.
// `mac` empty: 52:54:00 and three random bytes, because each guest of a joined LAN needs its own.
// Throws netstack::Error: an empty command, a program that is missing, a bad MAC, -daemonize.
GuestCommand add_network_card(std::vector<std::string> argv, Attachment attachment,
                              const std::string& mac);

// Where `name` is, as execvp(3) would look: as a path if it holds a slash, else in `search_path`
// (the value of PATH). Throws netstack::Error.
std::string find_program(const std::string& name, const std::string& search_path);

}  // namespace driver
