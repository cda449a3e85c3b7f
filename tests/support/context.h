/* The former name, for branches under way; removed when they have landed. */
#include "support/test_context.h"
