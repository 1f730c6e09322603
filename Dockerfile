# One image for all of Athanor's processes; docker-compose.yml says which does what.
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /app

COPY requirements.txt requirements-examples.txt requirements-sign-in.txt ./
RUN pip install --require-hashes -r requirements.txt -r requirements-examples.txt -r requirements-sign-in.txt

RUN useradd --create-home --uid 1000 athanor && mkdir -m 700 /data && chown athanor /data
COPY manage.py ./
COPY athanor athanor
COPY runs runs
COPY experiments experiments

USER athanor
ENV ATHANOR_VAR=/data
VOLUME /data
EXPOSE 8000
CMD ["python", "manage.py", "up", "--host", "0.0.0.0", "--no-demo"]
