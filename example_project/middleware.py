"""A strict Content-Security-Policy on every page that brings none of its own."""


def strict_csp(get_response):
    def middleware(request):
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", "default-src 'self'; frame-ancestors 'self'")
        return response

    return middleware
