// The one-shot SHA256_* calls are "deprecated" in OpenSSL 3 in favour of EVP, but for inputs of a few hundred bytes
// EVP's set-up costs more than the hash itself, and the log hashes every record. This level keeps them available.
#define OPENSSL_API_COMPAT 0x10100000L
#define OPENSSL_SUPPRESS_DEPRECATED

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
