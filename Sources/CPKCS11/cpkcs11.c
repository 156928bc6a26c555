#include "cpkcs11.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "pkcs11.h"

// One module, and its session once there is one.
struct waybill_pkcs11 {
    const CK_FUNCTION_LIST *functions;
    CK_SESSION_HANDLE session;
    int has_session;
};

typedef waybill_pkcs11_result result;

static result fine(void) { return (result){NULL, CKR_OK, NULL}; }

static result ended(const char *call, CK_RV value) { return value == CKR_OK ? fine() : (result){call, value, NULL}; }

static int failed(result outcome) { return outcome.call != NULL; }

static const struct {
    CK_RV value;
    const char *name;
} names[] = {
    {0x001, "CKR_CANCEL"},
    {0x002, "CKR_HOST_MEMORY"},
    {0x003, "CKR_SLOT_ID_INVALID"},
    {0x005, "CKR_GENERAL_ERROR"},
    {0x006, "CKR_FUNCTION_FAILED"},
    {0x007, "CKR_ARGUMENTS_BAD"},
    {0x00A, "CKR_CANT_LOCK"},
    {0x010, "CKR_ATTRIBUTE_READ_ONLY"},
    {0x011, "CKR_ATTRIBUTE_SENSITIVE"},
    {0x012, "CKR_ATTRIBUTE_TYPE_INVALID"},
    {0x013, "CKR_ATTRIBUTE_VALUE_INVALID"},
    {0x01B, "CKR_ACTION_PROHIBITED"},
    {0x020, "CKR_DATA_INVALID"},
    {0x021, "CKR_DATA_LEN_RANGE"},
    {0x030, "CKR_DEVICE_ERROR"},
    {0x031, "CKR_DEVICE_MEMORY"},
    {0x032, "CKR_DEVICE_REMOVED"},
    {0x035, "CKR_AEAD_DECRYPT_FAILED"},
    {0x040, "CKR_ENCRYPTED_DATA_INVALID"},
    {0x041, "CKR_ENCRYPTED_DATA_LEN_RANGE"},
    {0x050, "CKR_FUNCTION_CANCELED"},
    {0x054, "CKR_FUNCTION_NOT_SUPPORTED"},
    {0x060, "CKR_KEY_HANDLE_INVALID"},
    {0x062, "CKR_KEY_SIZE_RANGE"},
    {0x063, "CKR_KEY_TYPE_INCONSISTENT"},
    {0x068, "CKR_KEY_FUNCTION_NOT_PERMITTED"},
    {0x070, "CKR_MECHANISM_INVALID"},
    {0x071, "CKR_MECHANISM_PARAM_INVALID"},
    {0x082, "CKR_OBJECT_HANDLE_INVALID"},
    {0x090, "CKR_OPERATION_ACTIVE"},
    {0x091, "CKR_OPERATION_NOT_INITIALIZED"},
    {0x0A0, "CKR_PIN_INCORRECT"},
    {0x0A1, "CKR_PIN_INVALID"},
    {0x0A2, "CKR_PIN_LEN_RANGE"},
    {0x0A3, "CKR_PIN_EXPIRED"},
    {0x0A4, "CKR_PIN_LOCKED"},
    {0x0B0, "CKR_SESSION_CLOSED"},
    {0x0B1, "CKR_SESSION_COUNT"},
    {0x0B3, "CKR_SESSION_HANDLE_INVALID"},
    {0x0B5, "CKR_SESSION_READ_ONLY"},
    {0x0B7, "CKR_SESSION_READ_ONLY_EXISTS"},
    {0x0B8, "CKR_SESSION_READ_WRITE_SO_EXISTS"},
    {0x0D0, "CKR_TEMPLATE_INCOMPLETE"},
    {0x0D1, "CKR_TEMPLATE_INCONSISTENT"},
    {0x0E0, "CKR_TOKEN_NOT_PRESENT"},
    {0x0E1, "CKR_TOKEN_NOT_RECOGNIZED"},
    {0x0E2, "CKR_TOKEN_WRITE_PROTECTED"},
    {0x100, "CKR_USER_ALREADY_LOGGED_IN"},
    {0x101, "CKR_USER_NOT_LOGGED_IN"},
    {0x102, "CKR_USER_PIN_NOT_INITIALIZED"},
    {0x103, "CKR_USER_TYPE_INVALID"},
    {0x104, "CKR_USER_ANOTHER_ALREADY_LOGGED_IN"},
    {0x105, "CKR_USER_TOO_MANY_TYPES"},
    {0x150, "CKR_BUFFER_TOO_SMALL"},
    {0x190, "CKR_CRYPTOKI_NOT_INITIALIZED"},
    {0x191, "CKR_CRYPTOKI_ALREADY_INITIALIZED"},
    {0x200, "CKR_FUNCTION_REJECTED"},
};

const char *waybill_pkcs11_name(unsigned long value) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].value == value) return names[i].name;
    return NULL;
}

// The module

static result initialize(const CK_FUNCTION_LIST *functions) {
    CK_C_INITIALIZE_ARGS arguments = {.flags = CKF_OS_LOCKING_OK};
    CK_RV value = functions->C_Initialize(&arguments);
    // Initializing counts once for the process, whoever did it.
    return ended("C_Initialize", value == CKR_CRYPTOKI_ALREADY_INITIALIZED ? CKR_OK : value);
}

static result load_functions(const char *module_path, CK_FUNCTION_LIST **functions) {
    void *module = dlopen(module_path, RTLD_NOW | RTLD_LOCAL);
    if (module == NULL) return (result){"dlopen", CKR_GENERAL_ERROR, dlerror()};
    // POSIX defines this conversion of a data pointer; ISO C does not, so it goes through memory.
    CK_C_GetFunctionList get_function_list = NULL;
    void *symbol = dlsym(module, "C_GetFunctionList");
    if (symbol == NULL) return (result){"dlsym", CKR_GENERAL_ERROR, dlerror()};
    memcpy(&get_function_list, &symbol, sizeof symbol);
    return ended("C_GetFunctionList", get_function_list(functions));
}

result waybill_pkcs11_load(const char *module_path, waybill_pkcs11 **handle) {
    CK_FUNCTION_LIST *functions = NULL;
    result outcome = load_functions(module_path, &functions);
    if (failed(outcome)) return outcome;
    outcome = initialize(functions);
    if (failed(outcome)) return outcome;
    *handle = calloc(1, sizeof **handle);
    if (*handle == NULL) return ended("calloc", CKR_HOST_MEMORY);
    (*handle)->functions = functions;
    return fine();
}

// Neither C_Finalize nor dlclose(3): initialization belongs to the whole process, so the first of two handles to be
// closed would end the other's session, and many modules keep threads and exit handlers that do not survive being
// unmapped.
void waybill_pkcs11_close(waybill_pkcs11 *handle) {
    if (handle == NULL) return;
    // A session that is lost already has nothing left to close.
    if (handle->has_session) (void)handle->functions->C_CloseSession(handle->session);
    free(handle);
}

// The token

// Whether a fixed field, filled up with blanks (by some modules with zeros), holds `text`; a null text is any.
static int field_is(const CK_BYTE *field, size_t size, const char *text) {
    if (text == NULL) return 1;
    size_t length = strlen(text);
    if (length > size || memcmp(field, text, length) != 0) return 0;
    for (size_t i = length; i < size; i++)
        if (field[i] != ' ' && field[i] != 0) return 0;
    return 1;
}

static int token_is(
    const CK_TOKEN_INFO *info, const char *label, const char *serial, const char *manufacturer, const char *model) {
    return (info->flags & CKF_TOKEN_INITIALIZED) != 0 && field_is(info->label, sizeof info->label, label) &&
           field_is(info->serialNumber, sizeof info->serialNumber, serial) &&
           field_is(info->manufacturerID, sizeof info->manufacturerID, manufacturer) &&
           field_is(info->model, sizeof info->model, model);
}

// The slots with a token; the caller frees `*slots`. Slots may come between the two calls, hence the loop.
static result list_slots(const CK_FUNCTION_LIST *functions, CK_SLOT_ID **slots, CK_ULONG *count) {
    *slots = NULL;
    for (;;) {
        CK_RV value = functions->C_GetSlotList(CK_TRUE, NULL, count);
        if (value != CKR_OK) return ended("C_GetSlotList", value);
        free(*slots);
        *slots = calloc(*count + 1, sizeof **slots);
        if (*slots == NULL) return ended("calloc", CKR_HOST_MEMORY);
        value = functions->C_GetSlotList(CK_TRUE, *slots, count);
        if (value != CKR_BUFFER_TOO_SMALL) return ended("C_GetSlotList", value);
    }
}

// A slot that lost its token meanwhile, or holds something that is none, is not the one and no error.
static int is_absent(CK_RV value) {
    return value == CKR_TOKEN_NOT_PRESENT || value == CKR_TOKEN_NOT_RECOGNIZED || value == CKR_DEVICE_REMOVED;
}

result waybill_pkcs11_find_token(
    waybill_pkcs11 *handle, const char *label, const char *serial, const char *manufacturer, const char *model,
    int any_slot, unsigned long only_slot, unsigned long *slot, size_t *matches) {
    CK_SLOT_ID *slots;
    CK_ULONG count = 0;
    *matches = 0;
    result outcome = list_slots(handle->functions, &slots, &count);
    for (CK_ULONG i = 0; i < count && !failed(outcome); i++) {
        CK_TOKEN_INFO info;
        if (!any_slot && only_slot != slots[i]) continue;
        CK_RV value = handle->functions->C_GetTokenInfo(slots[i], &info);
        if (is_absent(value)) continue;
        outcome = ended("C_GetTokenInfo", value);
        if (failed(outcome) || !token_is(&info, label, serial, manufacturer, model)) continue;
        *slot = slots[i];
        ++*matches;
    }
    free(slots);
    return outcome;
}

static result log_in(waybill_pkcs11 *handle, const uint8_t *pin, size_t pin_length) {
    CK_RV value = handle->functions->C_Login(handle->session, CKU_USER, (CK_BYTE *)pin, pin_length);
    // Logging in counts for all sessions of the process with this token.
    return ended("C_Login", value == CKR_USER_ALREADY_LOGGED_IN ? CKR_OK : value);
}

result waybill_pkcs11_log_in(waybill_pkcs11 *handle, unsigned long slot, const uint8_t *pin, size_t pin_length) {
    CK_FLAGS flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
    CK_RV value = handle->functions->C_OpenSession(slot, flags, NULL, NULL, &handle->session);
    if (value != CKR_OK) return ended("C_OpenSession", value);
    handle->has_session = 1;
    return log_in(handle, pin, pin_length);
}

static result require_login(waybill_pkcs11 *handle) {
    CK_SESSION_INFO info = {0};
    if (!handle->has_session) return ended("C_GetSessionInfo", CKR_USER_NOT_LOGGED_IN);
    CK_RV value = handle->functions->C_GetSessionInfo(handle->session, &info);
    if (value == CKR_OK && info.state != CKS_RW_USER_FUNCTIONS) value = CKR_USER_NOT_LOGGED_IN;
    return ended("C_GetSessionInfo", value);
}

// Keys

enum { id_size = 8 };

// The CKA_ID of a generation: 8 bytes, highest first, so that tools show it as a number.
static void put_generation(CK_BYTE *id, uint64_t generation) {
    for (int i = 0; i < id_size; i++) id[i] = (CK_BYTE)(generation >> (8 * (id_size - 1 - i)));
}

static uint64_t get_generation(const CK_BYTE *id) {
    uint64_t generation = 0;
    for (int i = 0; i < id_size; i++) generation = generation << 8 | id[i];
    return generation;
}

typedef struct {
    CK_OBJECT_HANDLE *handles;
    CK_ULONG count;
    CK_ULONG capacity;
} object_list;

static int grow(object_list *objects) {
    if (objects->count < objects->capacity) return 1;
    CK_ULONG capacity = objects->capacity * 2 + 16;
    CK_OBJECT_HANDLE *handles = realloc(objects->handles, capacity * sizeof *handles);
    if (handles == NULL) return 0;
    objects->handles = handles;
    objects->capacity = capacity;
    return 1;
}

static result collect(waybill_pkcs11 *handle, object_list *objects) {
    for (;;) {
        CK_ULONG got = 0;
        if (!grow(objects)) return ended("realloc", CKR_HOST_MEMORY);
        CK_OBJECT_HANDLE *room = objects->handles + objects->count;
        CK_ULONG capacity = objects->capacity - objects->count;
        CK_RV value = handle->functions->C_FindObjects(handle->session, room, capacity, &got);
        if (value != CKR_OK || got == 0) return ended("C_FindObjects", value);
        objects->count += got;
    }
}

// The secret keys with `label`, of one generation or (null) of all. The caller frees `objects->handles`, also after a
// failure.
static result find_objects(
    waybill_pkcs11 *handle, const char *label, const uint64_t *generation, object_list *objects) {
    *objects = (object_list){0};
    result outcome = require_login(handle);
    if (failed(outcome)) return outcome;
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_BYTE id[id_size];
    put_generation(id, generation == NULL ? 0 : *generation);
    CK_ATTRIBUTE template[] = {
        {CKA_CLASS, &class, sizeof class},
        {CKA_LABEL, (void *)label, strlen(label)},
        {CKA_ID, id, sizeof id},
    };
    CK_RV value = handle->functions->C_FindObjectsInit(handle->session, template, generation == NULL ? 2 : 3);
    if (value != CKR_OK) return ended("C_FindObjectsInit", value);
    outcome = collect(handle, objects);
    // Also after a failure: a search that was left open would refuse the next one.
    value = handle->functions->C_FindObjectsFinal(handle->session);
    return failed(outcome) ? outcome : ended("C_FindObjectsFinal", value);
}

// Whether the object has the id of a generation. One with another id, or that is gone by now, is not Waybill's.
static result read_generation(waybill_pkcs11 *handle, CK_OBJECT_HANDLE object, uint64_t *generation, int *is_ours) {
    CK_BYTE id[id_size];
    CK_ATTRIBUTE attribute = {CKA_ID, id, sizeof id};
    CK_RV value = handle->functions->C_GetAttributeValue(handle->session, object, &attribute, 1);
    *is_ours = value == CKR_OK && attribute.ulValueLen == id_size;
    if (*is_ours) *generation = get_generation(id);
    int is_foreign =
        value == CKR_BUFFER_TOO_SMALL || value == CKR_ATTRIBUTE_TYPE_INVALID || value == CKR_OBJECT_HANDLE_INVALID;
    return is_foreign ? fine() : ended("C_GetAttributeValue", value);
}

result waybill_pkcs11_generations(
    waybill_pkcs11 *handle, const char *label, uint64_t *generations, size_t capacity, size_t *count) {
    object_list objects;
    *count = 0;
    result outcome = find_objects(handle, label, NULL, &objects);
    for (CK_ULONG i = 0; i < objects.count && !failed(outcome); i++) {
        uint64_t generation = 0;
        int is_ours = 0;
        outcome = read_generation(handle, objects.handles[i], &generation, &is_ours);
        if (!is_ours) continue;
        if (*count < capacity) generations[*count] = generation;
        ++*count;
    }
    free(objects.handles);
    return outcome;
}

result waybill_pkcs11_find_key(
    waybill_pkcs11 *handle, const char *label, uint64_t generation, unsigned long *key, size_t *matches) {
    object_list objects;
    result outcome = find_objects(handle, label, &generation, &objects);
    *matches = objects.count;
    if (objects.count > 0) *key = objects.handles[0];
    free(objects.handles);
    return outcome;
}

result waybill_pkcs11_create_key(waybill_pkcs11 *handle, const char *label, uint64_t generation) {
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_ULONG size = 32;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_BYTE id[id_size];
    put_generation(id, generation);
    CK_ATTRIBUTE template[] = {
        {CKA_CLASS, &class, sizeof class},
        {CKA_KEY_TYPE, &type, sizeof type},
        {CKA_VALUE_LEN, &size, sizeof size},
        {CKA_LABEL, (void *)label, strlen(label)},
        {CKA_ID, id, sizeof id},
        {CKA_TOKEN, &yes, sizeof yes},
        {CKA_PRIVATE, &yes, sizeof yes},
        {CKA_SENSITIVE, &yes, sizeof yes},
        {CKA_EXTRACTABLE, &no, sizeof no},
        {CKA_ENCRYPT, &yes, sizeof yes},
        {CKA_DECRYPT, &yes, sizeof yes},
        // A key that may both unwrap and decrypt lets its user read other keys of the token.
        {CKA_WRAP, &no, sizeof no},
        {CKA_UNWRAP, &no, sizeof no},
    };
    CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
    CK_OBJECT_HANDLE key;
    CK_ULONG count = sizeof template / sizeof *template;
    result outcome = require_login(handle);
    if (failed(outcome)) return outcome;
    CK_RV value = handle->functions->C_GenerateKey(handle->session, &mechanism, template, count, &key);
    return ended("C_GenerateKey", value);
}

result waybill_pkcs11_destroy_keys(waybill_pkcs11 *handle, const char *label, uint64_t generation) {
    object_list objects;
    result outcome = find_objects(handle, label, &generation, &objects);
    for (CK_ULONG i = 0; i < objects.count && !failed(outcome); i++) {
        CK_RV value = handle->functions->C_DestroyObject(handle->session, objects.handles[i]);
        outcome = ended("C_DestroyObject", value == CKR_OBJECT_HANDLE_INVALID ? CKR_OK : value);
    }
    free(objects.handles);
    return outcome;
}

// Encryption

static CK_GCM_PARAMS gcm(uint8_t *nonce, const uint8_t *authenticated, size_t authenticated_length) {
    return (CK_GCM_PARAMS){
        .pIv = nonce,
        .ulIvLen = waybill_pkcs11_nonce_size,
        .ulIvBits = 8 * waybill_pkcs11_nonce_size,
        .pAAD = (CK_BYTE *)authenticated,
        .ulAADLen = authenticated_length,
        .ulTagBits = 8 * waybill_pkcs11_tag_size,
    };
}

result waybill_pkcs11_encrypt(
    waybill_pkcs11 *handle, unsigned long key, uint8_t *nonce, const uint8_t *authenticated,
    size_t authenticated_length, const uint8_t *plaintext, size_t length, uint8_t *output, size_t *output_length) {
    CK_GCM_PARAMS parameters = gcm(nonce, authenticated, authenticated_length);
    CK_MECHANISM mechanism = {CKM_AES_GCM, &parameters, sizeof parameters};
    CK_RV value = handle->functions->C_EncryptInit(handle->session, &mechanism, key);
    if (value != CKR_OK) return ended("C_EncryptInit", value);
    CK_ULONG written = *output_length;
    value = handle->functions->C_Encrypt(handle->session, (CK_BYTE *)plaintext, length, output, &written);
    *output_length = value == CKR_OK ? written : 0;
    return ended("C_Encrypt", value);
}

result waybill_pkcs11_decrypt(
    waybill_pkcs11 *handle, unsigned long key, const uint8_t *nonce, const uint8_t *authenticated,
    size_t authenticated_length, const uint8_t *sealed, size_t length, uint8_t *output, size_t *output_length) {
    uint8_t own_nonce[waybill_pkcs11_nonce_size];
    memcpy(own_nonce, nonce, sizeof own_nonce);
    CK_GCM_PARAMS parameters = gcm(own_nonce, authenticated, authenticated_length);
    CK_MECHANISM mechanism = {CKM_AES_GCM, &parameters, sizeof parameters};
    CK_RV value = handle->functions->C_DecryptInit(handle->session, &mechanism, key);
    if (value != CKR_OK) return ended("C_DecryptInit", value);
    CK_ULONG written = *output_length;
    value = handle->functions->C_Decrypt(handle->session, (CK_BYTE *)sealed, length, output, &written);
    *output_length = value == CKR_OK ? written : 0;
    return ended("C_Decrypt", value);
}
