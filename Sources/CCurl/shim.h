// curl_easy_setopt and curl_easy_getinfo are variadic, which Swift cannot import: one wrapper per argument type.
#include <curl/curl.h>

static inline CURLcode waybill_curl_set_long(CURL *handle, CURLoption option, long value) {
    return curl_easy_setopt(handle, option, value);
}
static inline CURLcode waybill_curl_set_string(CURL *handle, CURLoption option, const char *value) {
    return curl_easy_setopt(handle, option, value);
}
static inline CURLcode waybill_curl_set_pointer(CURL *handle, CURLoption option, const void *value) {
    return curl_easy_setopt(handle, option, value);
}
static inline CURLcode waybill_curl_set_size(CURL *handle, CURLoption option, curl_off_t value) {
    return curl_easy_setopt(handle, option, value);
}
typedef size_t (*waybill_curl_write_callback)(char *, size_t, size_t, void *);
static inline CURLcode waybill_curl_set_write_callback(
    CURL *handle, CURLoption option, waybill_curl_write_callback callback) {
    return curl_easy_setopt(handle, option, callback);
}
typedef curl_socket_t (*waybill_curl_open_socket)(void *, curlsocktype, struct curl_sockaddr *);
static inline CURLcode waybill_curl_set_open_socket(CURL *handle, waybill_curl_open_socket callback) {
    return curl_easy_setopt(handle, CURLOPT_OPENSOCKETFUNCTION, callback);
}
typedef int (*waybill_curl_prereq)(void *, char *, char *, int, int);
static inline CURLcode waybill_curl_set_prereq(CURL *handle, waybill_curl_prereq callback) {
    return curl_easy_setopt(handle, CURLOPT_PREREQFUNCTION, callback);
}
static inline CURLcode waybill_curl_get_long(CURL *handle, CURLINFO info, long *value) {
    return curl_easy_getinfo(handle, info, value);
}
static inline CURLcode waybill_curl_get_size(CURL *handle, CURLINFO info, curl_off_t *value) {
    return curl_easy_getinfo(handle, info, value);
}
static inline CURLcode waybill_curl_get_pointer(CURL *handle, CURLINFO info, void **value) {
    return curl_easy_getinfo(handle, info, value);
}
static inline CURLcode waybill_curl_get_string(CURL *handle, CURLINFO info, char **value) {
    return curl_easy_getinfo(handle, info, value);
}
static inline CURLMcode waybill_curl_multi_set_long(CURLM *multi, CURLMoption option, long value) {
    return curl_multi_setopt(multi, option, value);
}
static inline CURL *waybill_curl_message_handle(const CURLMsg *message) { return message->easy_handle; }
static inline CURLcode waybill_curl_message_result(const CURLMsg *message) { return message->data.result; }
