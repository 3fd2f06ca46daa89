#pragma once

#include <string_view>

#include "tools/control/router.h"

namespace tools {

// Refuses (400) what the OpenAPI description of the route does not know: a parameter of the query,
// a member of the body, a value beside those that are listed. A misspelt word would else be left
// out in silence. Routes that the description does not have may be asked anything.
void refuse_undescribed(const ControlRequest& request, std::string_view pattern);

}  // namespace tools
