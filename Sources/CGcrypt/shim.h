#include <gcrypt.h>

// gcry_control takes a variable number of arguments, which Swift cannot call.

// Makes the library ready; must run once before any other call. Nonzero if it cannot be used.
static inline int cgcrypt_start(void) {
  if (gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P)) return 0;
  if (gcry_check_version("1.8.0") == NULL) return 1;
  // No pool of locked memory: the cipher contexts wipe themselves, keys are wiped by their owners.
  gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
  gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
  return 0;
}
