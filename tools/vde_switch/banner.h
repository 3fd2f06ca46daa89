#pragma once

#include <string>

namespace tools {

// Two lines, as management clients are greeted: they look for "V." and take what follows it up to
// the end of the line as the version. The second line is for people.
std::string banner();

// What a session is asked with; clients wait until a read ends in "$ ". The word before it is what
// vdeterm shows.
constexpr const char* kVdePrompt = "\nvde$ ";

}  // namespace tools
