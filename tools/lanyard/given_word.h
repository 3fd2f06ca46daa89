#pragma once

#include <string>

namespace tools {

// A check for options whose absence means something: an empty word is mostly a variable that nobody
// has set, and must not be taken for that. CLI11 takes the sentence for its complaint.
inline std::string refuse_empty(const std::string& word) {
  return word.empty() ? "an empty word is given; give a value, or leave the option out" : "";
}

}  // namespace tools
