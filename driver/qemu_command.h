#pragma once

#include <string>
#include <vector>

namespace driver {

// Throws netstack::Error when the command cannot become a guest: it is empty, or has -daemonize.
void check_guest_command(const std::vector<std::string>& argv);

// The MAC of a card that is added: `wanted`, or 52:54:00 and three random bytes where that is
// empty, because each guest of a joined LAN needs its own. Throws netstack::Error when it is not
// one.
std::string card_mac(const std::string& wanted);

}  // namespace driver
