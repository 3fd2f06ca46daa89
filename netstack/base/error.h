#pragma once

#include <sysexits.h>

#include <stdexcept>
#include <string>

namespace netstack {

// The host refuses, or the user asked for something that cannot be. `what()` is the one line a user
// sees: what was tried, what happened, what to do. Thrown while things are set up, caught in
// main().
class Error : public std::runtime_error {
 public:
  Error(int exit_code, const std::string& line) : std::runtime_error(line), exit_code_(exit_code) {}
  int exit_code() const { return exit_code_; }  // a sysexits.h value

 private:
  int exit_code_;
};

// "cannot bind /tmp/x/ctl: Address already in use; stop the other switch or choose another
// directory". `tried` reads after "cannot"; `remedy` after the semicolon and may be empty.
Error host_error(int errno_value, const std::string& tried, const std::string& remedy,
                 int exit_code = EX_OSERR);

// strerror() without its static buffer.
std::string errno_text(int errno_value);

// "ENETUNREACH" for ENETUNREACH; "errno 999" where the C library has no name for it.
std::string errno_name(int errno_value);

}  // namespace netstack
