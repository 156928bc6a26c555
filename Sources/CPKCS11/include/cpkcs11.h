#ifndef CPKCS11_H
#define CPKCS11_H

#include <stddef.h>
#include <stdint.h>

/// A thin layer over a PKCS #11 module, because the interface is a table of C function pointers found with dlopen(3),
/// filled with structures that point into each other: three lines each in C, none of them pleasant in Swift.
///
/// One handle is one module with at most one session. It may be used from any thread, by one at a time.
typedef struct waybill_pkcs11 waybill_pkcs11;

/// How a call ended. `call` is the function of PKCS #11 (or of the C library) that failed, null when nothing did;
/// `value` is its CK_RV; `detail` is what dlerror(3) said, null otherwise and valid until this thread's next dlopen(3).
typedef struct {
    const char *call;
    unsigned long value;
    const char *detail;
} waybill_pkcs11_result;

/// Return values that the caller tells apart from each other; the names of the standard.
enum {
    waybill_ckr_general_error = 0x05,
    waybill_ckr_function_failed = 0x06,
    waybill_ckr_data_invalid = 0x20,
    waybill_ckr_aead_decrypt_failed = 0x35,
    waybill_ckr_device_removed = 0x32,
    waybill_ckr_encrypted_data_invalid = 0x40,
    waybill_ckr_encrypted_data_len_range = 0x41,
    waybill_ckr_operation_active = 0x90,
    waybill_ckr_session_closed = 0xB0,
    waybill_ckr_session_handle_invalid = 0xB3,
    waybill_ckr_token_not_present = 0xE0,
    waybill_ckr_user_not_logged_in = 0x101,
    waybill_ckr_cryptoki_not_initialized = 0x190,
};

enum { waybill_pkcs11_nonce_size = 12, waybill_pkcs11_tag_size = 16 };

/// "CKR_PIN_INCORRECT" for 0xA0; null for a value without a name here.
const char *waybill_pkcs11_name(unsigned long value);

/// Loads a module and initializes it. Sets `*handle`, which the caller closes, unless the call failed.
waybill_pkcs11_result waybill_pkcs11_load(const char *module_path, waybill_pkcs11 **handle);

/// Ends the session, if there is one, and frees the handle. The module stays loaded and initialized (the definition
/// says why).
void waybill_pkcs11_close(waybill_pkcs11 *handle);

/// Counts the initialized tokens that match and gives the slot of one. A null text matches every token, as does
/// `any_slot` other than 0.
waybill_pkcs11_result waybill_pkcs11_find_token(
    waybill_pkcs11 *handle, const char *label, const char *serial, const char *manufacturer, const char *model,
    int any_slot, unsigned long only_slot, unsigned long *slot, size_t *matches);

/// Opens a read-write session and logs in as the user.
waybill_pkcs11_result waybill_pkcs11_log_in(
    waybill_pkcs11 *handle, unsigned long slot, const uint8_t *pin, size_t pin_length);

// What follows needs a session that is logged in, and fails with CKR_USER_NOT_LOGGED_IN without: to anybody else a
// token hides its private keys, and a key that is hidden must not be taken for one that was destroyed.

/// The generations of the keys with this label, in no order. `*count` may exceed `capacity`; then the array holds the
/// first ones.
waybill_pkcs11_result waybill_pkcs11_generations(
    waybill_pkcs11 *handle, const char *label, uint64_t *generations, size_t capacity, size_t *count);

/// Counts the keys of one generation and gives one of them.
waybill_pkcs11_result waybill_pkcs11_find_key(
    waybill_pkcs11 *handle, const char *label, uint64_t generation, unsigned long *key, size_t *matches);

/// Makes a random AES-256 key in the token that can encrypt and decrypt there and never leave it. Looks for no earlier
/// key of that generation.
waybill_pkcs11_result waybill_pkcs11_create_key(waybill_pkcs11 *handle, const char *label, uint64_t generation);

/// Destroys every key of one generation; none is no error.
waybill_pkcs11_result waybill_pkcs11_destroy_keys(waybill_pkcs11 *handle, const char *label, uint64_t generation);

/// AES-256-GCM: `output` gets ciphertext and tag. `nonce` (12 bytes) is read and may be replaced, because some modules
/// insist on one of their own. `*output_length` is the room on entry and what was written on return.
waybill_pkcs11_result waybill_pkcs11_encrypt(
    waybill_pkcs11 *handle, unsigned long key, uint8_t *nonce, const uint8_t *authenticated,
    size_t authenticated_length, const uint8_t *plaintext, size_t length, uint8_t *output, size_t *output_length);

/// The way back: `sealed` is ciphertext and tag. `output` needs room for `length` bytes, the tag included: modules may
/// ask for it although they fill less.
waybill_pkcs11_result waybill_pkcs11_decrypt(
    waybill_pkcs11 *handle, unsigned long key, const uint8_t *nonce, const uint8_t *authenticated,
    size_t authenticated_length, const uint8_t *sealed, size_t length, uint8_t *output, size_t *output_length);

#endif
